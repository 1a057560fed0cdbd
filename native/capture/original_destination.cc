#include "original_destination.h"

#include <bpf/bpf.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "shared.h"

namespace warren::capture {

namespace {

// linux/netfilter_ipv6/ip6_tables.h cannot be included beside netinet/in.h.
constexpr int kIp6tSoOriginalDst = 80;

std::optional<IpEndpoint> from_storage(const sockaddr_storage& storage) {
  auto endpoint = IpEndpoint::from_sockaddr(storage);
  if (!endpoint.ok()) return std::nullopt;
  return endpoint.value();
}

}  // namespace

std::optional<IpEndpoint> conntrack_destination(int socket_fd) {
  sockaddr_storage local{};
  socklen_t size = sizeof local;
  if (::getsockname(socket_fd, reinterpret_cast<sockaddr*>(&local), &size) != 0) return std::nullopt;
  sockaddr_storage original{};
  size = sizeof original;
  const bool v6 = local.ss_family == AF_INET6;
  const int level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;
  const int name = v6 ? kIp6tSoOriginalDst : SO_ORIGINAL_DST;
  if (::getsockopt(socket_fd, level, name, &original, &size) != 0) return std::nullopt;
  const auto destination = from_storage(original);
  const auto here = from_storage(local);
  // Tracked but not redirected: the client addressed this listener itself. Going there again would never end.
  if (destination && here && destination->address() == here->address() && destination->port() == here->port()) {
    return std::nullopt;
  }
  return destination;
}

std::optional<IpEndpoint> map_destination(int socket_fd, int map_fd, std::uint64_t netns_cookie) {
  sockaddr_storage peer_storage{};
  socklen_t size = sizeof peer_storage;
  if (::getpeername(socket_fd, reinterpret_cast<sockaddr*>(&peer_storage), &size) != 0) return std::nullopt;
  const auto peer = from_storage(peer_storage);
  if (!peer) return std::nullopt;
  warren_orig_dst_key key{};
  key.netns_cookie = netns_cookie;
  peer->copy_words(key.source_addr);
  key.source_port_be = htons(peer->port());
  key.family = static_cast<std::uint16_t>(peer->family());
  warren_orig_dst value{};
  // LRU hash maps have lookup-and-delete since 5.14; before it the two calls do the same here, where one reader owns
  // the entry.
  if (::bpf_map_lookup_and_delete_elem(map_fd, &key, &value) != 0) {
    if (::bpf_map_lookup_elem(map_fd, &key, &value) != 0) return std::nullopt;
    ::bpf_map_delete_elem(map_fd, &key);
  }
  if (value.family != WARREN_FAMILY_V4 && value.family != WARREN_FAMILY_V6) return std::nullopt;
  return IpEndpoint::from_words(value.addr, static_cast<Family>(value.family), value.port_be);
}

std::optional<IpEndpoint> local_destination(int socket_fd) {
  sockaddr_storage local{};
  socklen_t size = sizeof local;
  if (::getsockname(socket_fd, reinterpret_cast<sockaddr*>(&local), &size) != 0) return std::nullopt;
  return from_storage(local);
}

}  // namespace warren::capture
