#include "pod_socket.h"

#include <linux/in6.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>

namespace warren::capture {

namespace {

constexpr const char* kListenFailed = "MESH_LISTEN_FAILED";
constexpr const char* kSocketFailed = "MESH_SOCKET_FAILED";

bool set_option(const Fd& socket, int level, int name, int value) {
  return ::setsockopt(socket.get(), level, name, &value, sizeof value) == 0;
}

Fd tcp_socket(Family family) {
  return Fd(::socket(socket_domain(family), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
}

bool set_transparent(const Fd& socket, Family family) {
  return family == Family::kV4 ? set_option(socket, IPPROTO_IP, IP_TRANSPARENT, 1)
                               : set_option(socket, IPPROTO_IPV6, IPV6_TRANSPARENT, 1);
}

}  // namespace

Result<Fd> listen_here(const ListenOptions& options) {
  IpEndpoint local = IpEndpoint::wildcard(options.family, options.port);
  if (options.address) {
    auto parsed = IpEndpoint::parse(*options.address, options.port);
    if (!parsed.ok()) return parsed.failure();
    if (parsed.value().family() != options.family) {
      return Failure{"MESH_BAD_ADDRESS", *options.address + " is not of the asked family"};
    }
    local = parsed.value();
  }
  Fd socket = tcp_socket(options.family);
  if (!socket.valid()) return system_failure(kListenFailed, "cannot open a socket", errno);
  // Both families have a listener of their own: a socket map holds one per family.
  if (options.family == Family::kV6 && !set_option(socket, IPPROTO_IPV6, IPV6_V6ONLY, 1)) {
    return system_failure(kListenFailed, "cannot set IPV6_V6ONLY", errno);
  }
  if (!set_option(socket, SOL_SOCKET, SO_REUSEADDR, 1)) {
    return system_failure(kListenFailed, "cannot set SO_REUSEADDR", errno);
  }
  if (options.reuse_port && !set_option(socket, SOL_SOCKET, SO_REUSEPORT, 1)) {
    return system_failure(kListenFailed, "cannot set SO_REUSEPORT", errno);
  }
  if (options.transparent && !set_transparent(socket, options.family)) {
    return system_failure(kListenFailed, "cannot set IP_TRANSPARENT", errno);
  }
  const std::string where = local.address() + " port " + std::to_string(options.port);
  if (::bind(socket.get(), local.data(), local.size()) != 0) {
    const int error = errno;
    return system_failure(error == EADDRINUSE ? "MESH_PORT_TAKEN" : kListenFailed, "cannot bind " + where, error);
  }
  if (::listen(socket.get(), options.backlog) != 0) {
    const int error = errno;
    return system_failure(error == EADDRINUSE ? "MESH_PORT_TAKEN" : kListenFailed, "cannot listen on " + where, error);
  }
  return socket;
}

Result<Fd> open_socket_here(const SocketRequest& request) {
  Fd socket = tcp_socket(request.family);
  if (!socket.valid()) return system_failure(kSocketFailed, "cannot open a socket in the pod's netns", errno);
  if (request.mark != 0 && !set_option(socket, SOL_SOCKET, SO_MARK, static_cast<int>(request.mark))) {
    return system_failure(kSocketFailed, "cannot set SO_MARK", errno);
  }
  if (request.source_address) {
    auto source = IpEndpoint::parse(*request.source_address, 0);
    if (!source.ok()) return source.failure();
    if (source.value().family() != request.family) {
      return Failure{"MESH_BAD_ADDRESS", *request.source_address + " is not of the socket's family"};
    }
    if (!set_transparent(socket, request.family)) {
      return system_failure(kSocketFailed, "cannot set IP_TRANSPARENT", errno);
    }
    // The port is chosen at connect, when the whole 4-tuple is known: otherwise one source address has 28,000
    // connections at most.
    if (request.family == Family::kV4) set_option(socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    if (request.family == Family::kV6) set_option(socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    if (::bind(socket.get(), source.value().data(), source.value().size()) != 0) {
      return system_failure(kSocketFailed, "cannot bind " + *request.source_address, errno);
    }
  }
  return socket;
}

}  // namespace warren::capture
