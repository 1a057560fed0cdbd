#include "engine/net/original_destination.h"

#include <linux/bpf.h>
#include <netinet/in.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "shared.h"

namespace warren::engine {

namespace {

// linux/netfilter_ipv4.h and linux/netfilter_ipv6/ip6_tables.h; those headers clash with the C library's.
constexpr int kOriginalDestination = 80;

std::optional<Address> localAddress(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return std::nullopt;
  return Address::from(address);
}

std::optional<Address> fromConntrack(int fd, uint8_t family) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  const int level = family == 4 ? IPPROTO_IP : IPPROTO_IPV6;
  if (getsockopt(fd, level, kOriginalDestination, &address, &length) != 0) return std::nullopt;
  return Address::from(address);
}

std::optional<Address> fromMap(const OriginalDestination& how, const Address& peer) {
  warren_orig_dst_key key{};
  key.netns_cookie = how.netnsCookie;
  std::memcpy(key.source_addr, peer.ip.data(), peer.family == 4 ? 4 : 16);
  key.source_port_be = htons(peer.port);
  key.family = peer.family;
  warren_orig_dst value{};
  bpf_attr attributes{};
  attributes.map_fd = static_cast<uint32_t>(how.map.get());
  attributes.key = reinterpret_cast<uint64_t>(&key);
  attributes.value = reinterpret_cast<uint64_t>(&value);
  if (syscall(SYS_bpf, BPF_MAP_LOOKUP_AND_DELETE_ELEM, &attributes, sizeof attributes) != 0) return std::nullopt;
  Address found;
  found.family = static_cast<uint8_t>(value.family);
  found.port = ntohs(value.port_be);
  std::memcpy(found.ip.data(), value.addr, found.family == 4 ? 4 : 16);
  return found;
}

}  // namespace

std::optional<Address> findOriginalDestination(const OriginalDestination& how, int fd, const Address& peer,
                                               bool captured) {
  switch (how.kind) {
    case OriginalDestinationKind::fixed:
      return how.fixed;
    case OriginalDestinationKind::map:
      // Inbound steering by sk_lookup rewrites nothing.
      return captured ? fromMap(how, peer) : localAddress(fd);
    case OriginalDestinationKind::conntrack:
      return fromConntrack(fd, peer.family);
  }
  return std::nullopt;
}

}  // namespace warren::engine
