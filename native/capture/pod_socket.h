#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/fd.h"
#include "ip_address.h"
#include "result.h"

// Sockets of a pod. Only socket(2) must run in the pod's namespace; bind, listen, connect and accept work from anywhere
// after.
namespace warren::capture {

struct ListenOptions {
  Family family = Family::kV4;
  std::uint16_t port = 0;
  std::optional<std::string> address;
  int backlog = 0;
  // Accept connections whose destination is not an address of this namespace.
  bool transparent = false;
  bool reuse_port = false;
};

// A listening, non-blocking, close-on-exec socket in the calling thread's namespace.
Result<Fd> listen_here(const ListenOptions& options);

struct SocketRequest {
  Family family = Family::kV4;
  std::optional<std::string> source_address;
  std::uint32_t mark = 0;
};

// A non-blocking, close-on-exec socket in the calling thread's namespace, not yet connected.
Result<Fd> open_socket_here(const SocketRequest& request);

}  // namespace warren::capture
