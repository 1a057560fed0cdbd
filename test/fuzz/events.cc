// Records to TypeScript: a peer chooses their texts. However long and whatever they are, each record says its own size,
// texts lie where their lengths say, and the next record begins behind it.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>

#include "engine/core/events.h"

using namespace warren::engine;

namespace {

template <typename T>
T at(const RecordBuffer& bytes, size_t offset) {
  T value{};
  if (offset + sizeof value > bytes.size()) std::abort();
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// The record at `start` holds `texts` behind `fixed` bytes, their lengths from `lengths` on. Returns where the next one
// begins.
size_t check(const RecordBuffer& bytes, size_t start, size_t lengths, size_t fixed,
             std::initializer_list<std::string_view> texts) {
  const auto size = at<uint32_t>(bytes, start);
  if (size % 8 != 0 || start + size > bytes.size()) std::abort();
  size_t text = start + fixed;
  for (const std::string_view wanted : texts) {
    const auto length = at<uint16_t>(bytes, start + lengths);
    if (length != std::min<size_t>(wanted.size(), 0xffff) || text + length > start + size) std::abort();
    if (std::memcmp(bytes.data() + text, wanted.data(), length) != 0) std::abort();
    text += length;
    lengths += sizeof length;
  }
  if (text + 7 < start + size) std::abort();
  return start + size;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 6) return 0;
  // Six cuts of the rest; the first byte may make it too long for a record's length field: seldom, because that is
  // slow.
  std::string large(reinterpret_cast<const char*>(data) + 6, size - 6);
  if ((data[0] & 0xf0) == 0xf0) large.append(70'000, 'x');
  const std::string_view rest(large);
  const auto part = [&](size_t i) { return rest.substr(rest.size() * data[i] / 256); };

  RecordBuffer out;
  const ConnectArrivedRecord arrived{1, 2, 3, {}, part(0), part(1), part(2), part(3), part(4)};
  writeRecord(out, arrived);
  FlowRecord flow;
  flow.peer = part(5);
  flow.host = part(0);
  flow.detail = part(1);
  flow.traceparent = part(2).substr(0, 55);
  writeRecord(out, RecordKind::flowClosed, flow);
  TunnelRecord tunnel;
  tunnel.peer = part(2);
  tunnel.version = part(3);
  tunnel.keyExchange = part(4);
  tunnel.cipher = part(5);
  tunnel.detail = part(0);
  writeRecord(out, RecordKind::tunnelDown, tunnel);

  size_t next = check(out, 0, 52, 62, {part(0), part(1), part(2), part(3), part(4)});
  next = check(out, next, 136, 144, {flow.peer, flow.host, flow.detail, flow.traceparent});
  next = check(out, next, 72, 82, {tunnel.peer, tunnel.version, tunnel.keyExchange, tunnel.cipher, tunnel.detail});
  if (next != out.size()) std::abort();
  return 0;
}
