#pragma once

#include <cstdint>

namespace warren::engine {

// Indexes into the reason table of src/model/reason.ts; the loader compares names and numbers before an engine starts.
enum class Reason : uint8_t {
  ok = 0,
  resetBySource = 1,
  resetByDestination = 2,
  idleTimeout = 3,
  halfClosedTimeout = 4,
  badAuthority = 10,
  notConnect = 11,
  notThisPod = 12,
  noEndpoint = 15,
  connectFailed = 16,
  connectTimeout = 17,
  tlsFailed = 18,
  tlsTimeout = 19,
  h2Failed = 20,
  identityMismatch = 21,
  noCertificate = 22,
  certificateRevoked = 23,
  peerRefused = 24,
  tunnelLost = 25,
  connectUnanswered = 26,
  originalDestinationLost = 27,
  limitFlows = 28,
  limitMemory = 29,
  draining = 30,
  podRemoved = 31,
  closedByOperator = 32,
  agentStopped = 33,
  outOfDescriptors = 34,
  internal = 36,
};

struct ReasonName {
  Reason reason;
  const char* code;
};

// Every reason that the engine itself gives, with the code that TypeScript must have at that index.
inline constexpr ReasonName kReasonNames[] = {
    {Reason::ok, "ok"},
    {Reason::resetBySource, "reset-by-source"},
    {Reason::resetByDestination, "reset-by-destination"},
    {Reason::idleTimeout, "idle-timeout"},
    {Reason::halfClosedTimeout, "half-closed-timeout"},
    {Reason::badAuthority, "bad-authority"},
    {Reason::notConnect, "not-connect"},
    {Reason::notThisPod, "not-this-pod"},
    {Reason::noEndpoint, "no-endpoint"},
    {Reason::connectFailed, "connect-failed"},
    {Reason::connectTimeout, "connect-timeout"},
    {Reason::tlsFailed, "tls-failed"},
    {Reason::tlsTimeout, "tls-timeout"},
    {Reason::h2Failed, "h2-failed"},
    {Reason::identityMismatch, "identity-mismatch"},
    {Reason::noCertificate, "no-certificate"},
    {Reason::certificateRevoked, "certificate-revoked"},
    {Reason::peerRefused, "peer-refused"},
    {Reason::tunnelLost, "tunnel-lost"},
    {Reason::connectUnanswered, "connect-unanswered"},
    {Reason::originalDestinationLost, "original-destination-lost"},
    {Reason::limitFlows, "limit-flows"},
    {Reason::limitMemory, "limit-memory"},
    {Reason::draining, "draining"},
    {Reason::podRemoved, "pod-removed"},
    {Reason::closedByOperator, "closed-by-operator"},
    {Reason::agentStopped, "agent-stopped"},
    {Reason::outOfDescriptors, "out-of-descriptors"},
    {Reason::internal, "internal"},
};

}  // namespace warren::engine
