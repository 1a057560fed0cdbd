#pragma once

#include <cstdint>
#include <vector>

#include "ip_address.h"
#include "result.h"

namespace warren::capture {

// One TCP or UDP socket of a network namespace, as the kernel's sock_diag(7) tells of it.
struct DiagnosedSocket {
  enum class Protocol : std::uint8_t { kTcp, kUdp };
  enum class State : std::uint8_t { kListening, kOpen };

  Protocol protocol = Protocol::kTcp;
  State state = State::kOpen;
  IpEndpoint local;
  IpEndpoint remote;
  std::uint32_t mark = 0;
  // Names the socket for `destroy_sockets`; never reused while the kernel runs.
  std::uint64_t cookie = 0;
  // Opened in the calling process's cgroup (v2).
  bool own = false;
};

// Sockets of the namespace that the calling thread is in: TCP that listens or carries data, and UDP that is bound.
Result<std::vector<DiagnosedSocket>> diagnose_sockets();

// Aborts TCP connections: their owners read ECONNABORTED, their peers a reset. Returns how many were; those that have
// gone by themselves are not counted. Fails where the kernel was built without CONFIG_INET_DIAG_DESTROY.
Result<std::uint32_t> destroy_sockets(const std::vector<std::uint64_t>& cookies);

}  // namespace warren::capture
