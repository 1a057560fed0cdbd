#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace warren::engine {

// Milliseconds, as `EngineTimeouts` of src/tunnel/engine.ts.
struct Timeouts {
  int64_t decision = 0;
  int64_t credential = 0;
  int64_t connect = 0;
  int64_t tls = 0;
  int64_t http2 = 0;
  int64_t connectAnswer = 0;
  int64_t idle = 0;
  int64_t halfClosed = 0;
  int64_t pingInterval = 0;
  int64_t pingTimeout = 0;
  int64_t tunnelIdle = 0;
  int64_t peerBackoff = 0;
  int64_t peerBackoffMax = 0;
};

// As `EngineLimits`.
struct Limits {
  int64_t flows = 0;
  int64_t flowsPerPod = 0;
  int64_t flowsPerTunnel = 0;
  int64_t streamsPerInboundTunnel = 0;
  int64_t tunnelsPerGroup = 0;
  int64_t inboundTunnelsPerPod = 0;
  int64_t outboundTunnelsPerPod = 0;
  int64_t streamWindow = 0;
  int64_t connectionWindow = 0;
  int64_t frameSize = 0;
  int64_t headerListSize = 0;
  int64_t bufferPerFlow = 0;
  int64_t memoryPerTunnel = 0;
  int64_t memoryPerPod = 0;
  int64_t memory = 0;
  int64_t descriptors = 0;
};

struct TlsSettings {
  std::string groups;
  std::string ciphers;
  bool resumption = false;
};

// As `TraceOptions`.
struct Traces {
  bool carried = false;
  double share = 0;
};

// What an HBONE client is told: the reason's code and HTTP status, by reason index.
struct ReasonAnswer {
  std::string code;
  int status = 503;
};

struct Options {
  Timeouts timeouts;
  Limits limits;
  TlsSettings tls;
  Traces traces;
  unsigned workers = 1;
  std::vector<ReasonAnswer> reasons;
};

}  // namespace warren::engine
