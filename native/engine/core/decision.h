#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/base/address.h"
#include "engine/core/reason.h"

namespace warren::engine {

class Group;
class Pod;

enum class DecisionKind : uint8_t { carry = 1, dial = 2, handOver = 3, refuse = 4 };

// Bits of `Decision::fields`, one per `RememberField`.
enum RememberField : uint8_t {
  kDestination = 1,
  kDestinationPort = 2,
  kSourceAddress = 4,
  kPeerIdentity = 8,
  kAuthority = 16,
};

struct CarryTarget {
  uint64_t groupHandle = 0;
  double weight = 0;
  std::string authority;
  std::shared_ptr<Group> group;  // resolved from the handle by the engine
};

struct DialTarget {
  Address destination;
  double weight = 0;
};

// What TypeScript decided for a flow, and maybe for others like it. Immutable once handed to a worker.
struct Decision {
  DecisionKind kind = DecisionKind::refuse;
  bool remember = false;
  uint8_t fields = 0;
  Reason reason = Reason::internal;
  bool deliver = false;
  uint32_t label = 0;
  uint64_t flow = 0;
  uint64_t epoch = 0;
  uint64_t fromHandle = 0;
  Address source;
  std::string baggage;
  std::string forwardedHost;
  std::vector<CarryTarget> carry;
  std::vector<DialTarget> dial;
  std::shared_ptr<Pod> from;  // resolved from the handle by the engine
};

// Reads one record as src/tunnel/native/decision-encoder.ts writes it and moves `records` past it. False for a
// malformed one, after which the rest of the batch cannot be trusted.
bool readDecision(std::span<const uint8_t>& records, Decision& out);

}  // namespace warren::engine
