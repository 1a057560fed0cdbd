// What of a tunnel's bytes waits for slow readers, and the window that its streams get for that. A stream's window is
// the most that its peer may make wait here. When half of a limit is used up, windows shrink (RFC 9113 §6.9.2: a change
// of SETTINGS_INITIAL_WINDOW_SIZE counts for open streams too), so that slow readers slow their writers long before
// anything must be cut; a quarter, and they are as they were.
#include <algorithm>

#include "engine/core/engine.h"
#include "engine/core/tunnel.h"
#include "engine/core/worker.h"

namespace warren::engine {

namespace {
constexpr int64_t kPressed = 2;
constexpr int64_t kRelaxed = 4;
// A sixteenth still keeps a fast reader busy in a cluster: 256 KiB are 2 Gbit/s at 1 ms.
constexpr int64_t kNarrowing = 16;
constexpr int64_t kNarrowest = int64_t{64} * 1024;
}  // namespace

std::vector<Flow*> Tunnel::flows() {
  std::vector<Flow*> all;
  flows_.forEach([&](Flow& flow) { all.push_back(&flow); });
  return all;
}

void Tunnel::holds(int64_t more) {
  buffered_ += more;
  if (more <= 0) return;
  if (buffered_ > worker_.engine().options().limits.memoryPerTunnel) worker_.checkMemory(*this);
  if (!narrow_ && pressed(kPressed)) setNarrow(true);
}

bool Tunnel::pressed(int64_t part) const {
  const Limits& limits = worker_.engine().options().limits;
  return buffered_ > limits.memoryPerTunnel / part ||
         pod_->buffered.load(std::memory_order_relaxed) > limits.memoryPerPod / part ||
         worker_.engine().waiting() > limits.memory / part;
}

void Tunnel::relax() {
  if (narrow_ && !pressed(kRelaxed)) setNarrow(false);
}

uint32_t Tunnel::firstWindow() {
  narrow_ = pressed(kPressed);
  return window();
}

uint32_t Tunnel::window() const {
  const int64_t full = worker_.engine().options().limits.streamWindow;
  return static_cast<uint32_t>(narrow_ ? std::min(full, std::max(full / kNarrowing, kNarrowest)) : full);
}

void Tunnel::setNarrow(bool narrow) {
  if (session_ == nullptr || state_ == State::closed) return;
  narrow_ = narrow;
  const nghttp2_settings_entry window{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, this->window()};
  nghttp2_submit_settings(session_.get(), NGHTTP2_FLAG_NONE, &window, 1);
  worker_.soon(*this);
}

}  // namespace warren::engine
