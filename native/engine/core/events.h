#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <vector>

#include "engine/base/address.h"
#include "engine/core/decision_cache.h"
#include "engine/core/reason.h"

namespace warren::engine {

// The records that cross to TypeScript; src/tunnel/native/records.ts reads them. Each starts with its size (u32, a
// multiple of 8) and kind (u8); numbers are little endian, handles and times are doubles, texts are Latin-1 behind the
// fixed part.
enum class RecordKind : uint8_t {
  flowArrived = 1,
  connectArrived = 2,
  flowClosed = 3,
  tunnelUp = 4,
  tunnelDown = 5,
  handedOver = 6,
  podGone = 7,
  flowRow = 8,
};

struct FlowArrivedRecord {
  uint64_t flow = 0;
  uint64_t pod = 0;
  Role role = Role::outbound;
  Address source;
  Address destination;
};

struct ConnectArrivedRecord {
  uint64_t flow = 0;
  uint64_t pod = 0;
  uint64_t tunnel = 0;
  Address source;
  std::string_view peer;
  std::string_view authority;
  std::string_view baggage;
  std::string_view forwarded;
  std::string_view traceparent;
};

// Of an open flow or of one that ended.
struct FlowRecord {
  uint64_t flow = 0;
  uint64_t pod = 0;
  uint64_t tunnel = 0;
  Role role = Role::outbound;
  Reason reason = Reason::ok;
  uint32_t label = 0;
  uint64_t bytesSent = 0;
  uint64_t bytesReceived = 0;
  double arrivedAt = 0;
  double connectedMs = -1;
  double durationMs = -1;
  Address source;
  Address destination;
  Address target;
  std::string_view peer;
  std::string_view host;  // of a destination that is a name
  std::string_view detail;
  std::string_view traceparent;
};

struct TunnelRecord {
  uint64_t tunnel = 0;
  uint64_t pod = 0;
  uint64_t group = 0;
  bool outbound = false;
  Reason reason = Reason::ok;
  double setupMs = -1;
  double openedAt = 0;
  uint32_t flows = 0;
  Address peerAddress;
  std::string_view peer;
  std::string_view version;
  std::string_view keyExchange;
  std::string_view cipher;
  std::string_view detail;
};

using RecordBuffer = std::vector<uint8_t>;

void writeRecord(RecordBuffer& out, const FlowArrivedRecord& record);
void writeRecord(RecordBuffer& out, const ConnectArrivedRecord& record);
void writeRecord(RecordBuffer& out, RecordKind kind, const FlowRecord& record);
void writeRecord(RecordBuffer& out, RecordKind kind, const TunnelRecord& record);
void writeHandedOver(RecordBuffer& out, uint64_t flow, int fd);
void writePodGone(RecordBuffer& out, uint64_t pod);

// One worker's way to TypeScript: it writes into `own` alone and publishes once per turn of its loop.
class EventQueue {
 public:
  RecordBuffer own;

  // True if the reader must be woken.
  bool publish();
  // Takes what was published, oldest first.
  void take(RecordBuffer& into);

 private:
  std::mutex mutex_;
  RecordBuffer shared_;
};

}  // namespace warren::engine
