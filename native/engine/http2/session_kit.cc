#include "engine/http2/session_kit.h"

#include <malloc.h>

#include <cstdlib>
#include <new>

#include "engine/core/tunnel.h"

// Newer than the header of Debian's nghttp2 and present in Node's, which is the one that runs; absent where the engine
// is linked with Debian's own.
extern "C" __attribute__((weak)) void nghttp2_option_set_stream_reset_rate_limit(nghttp2_option* option, uint64_t burst,
                                                                                 uint64_t rate);

namespace warren::engine {

namespace {

// Answers (SETTINGS and PING acknowledgements) that a peer may leave unread before it is cut off (CVE-2019-9512,
// CVE-2019-9515).
constexpr size_t kMostUnreadAnswers = 1000;
// RFC 9113 §6.5.2: no limit until the peer names one; ztunnel and Envoy name at least 100.
constexpr uint32_t kStreamsBeforeSettings = 100;
// Resets a peer may send at once and per second (CVE-2023-44487). Each is normally an application's own broken
// connection, made by a peer that has proven who it is; nghttp2's default of 33 a second would cut every other flow of
// a busy tunnel.
constexpr uint64_t kResetBurst = 10'000;
constexpr uint64_t kResetsPerSecond = 1'000;

void* counted(void* memory, void* counters) {
  if (memory != nullptr)
    static_cast<Counters*>(counters)->memoryBytes.add(static_cast<int64_t>(malloc_usable_size(memory)));
  return memory;
}

void uncount(void* memory, void* counters) {
  if (memory != nullptr)
    static_cast<Counters*>(counters)->memoryBytes.add(-static_cast<int64_t>(malloc_usable_size(memory)));
}

// The C allocator as nghttp2 wants it: ownership passes through plain pointers here.
// NOLINTBEGIN(cppcoreguidelines-owning-memory)
void* allocate(size_t size, void* counters) {
  return counted(std::malloc(size), counters);
}

void* allocateZeroed(size_t count, size_t size, void* counters) {
  return counted(std::calloc(count, size), counters);
}

void* reallocate(void* memory, size_t size, void* counters) {
  const auto before = static_cast<int64_t>(memory == nullptr ? 0 : malloc_usable_size(memory));
  void* moved = std::realloc(memory, size);
  if (moved == nullptr) return nullptr;
  static_cast<Counters*>(counters)->memoryBytes.add(static_cast<int64_t>(malloc_usable_size(moved)) - before);
  return moved;
}

void release(void* memory, void* counters) {
  uncount(memory, counters);
  std::free(memory);
}
// NOLINTEND(cppcoreguidelines-owning-memory)

}  // namespace

SessionKit::SessionKit(Counters& counters)
    : callbacks_(nullptr, nghttp2_session_callbacks_del),
      options_(nullptr, nghttp2_option_del),
      memory_{&counters, allocate, release, allocateZeroed, reallocate} {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_option* options = nullptr;
  if (nghttp2_session_callbacks_new(&callbacks) != 0) throw std::bad_alloc();
  callbacks_.reset(callbacks);
  if (nghttp2_option_new(&options) != 0) throw std::bad_alloc();
  options_.reset(options);
  Tunnel::installCallbacks(callbacks);
  // Credit for a stream is given when the application took the bytes.
  nghttp2_option_set_no_auto_window_update(options, 1);
  nghttp2_option_set_no_closed_streams(options, 1);
  nghttp2_option_set_max_outbound_ack(options, kMostUnreadAnswers);
  nghttp2_option_set_peer_max_concurrent_streams(options, kStreamsBeforeSettings);
  if (nghttp2_option_set_stream_reset_rate_limit != nullptr) {
    nghttp2_option_set_stream_reset_rate_limit(options, kResetBurst, kResetsPerSecond);
  }
}

Http2Session SessionKit::client(void* tunnel) {
  nghttp2_session* session = nullptr;
  nghttp2_session_client_new3(&session, callbacks_.get(), tunnel, options_.get(), &memory_);
  return {session, nghttp2_session_del};
}

Http2Session SessionKit::server(void* tunnel) {
  nghttp2_session* session = nullptr;
  nghttp2_session_server_new3(&session, callbacks_.get(), tunnel, options_.get(), &memory_);
  return {session, nghttp2_session_del};
}

}  // namespace warren::engine
