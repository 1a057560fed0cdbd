#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "result.h"

namespace warren::capture {

// The numbers of WARREN_FAMILY_* in bpf/shared.h and of `family` in TypeScript.
enum class Family : std::uint8_t { kV4 = 4, kV6 = 6 };

constexpr int socket_domain(Family family) {
  return family == Family::kV4 ? AF_INET : AF_INET6;
}

// An address and port with text at its edges. v4-mapped IPv6 is IPv4 here: `family()` never calls such an address IPv6.
class IpEndpoint {
 public:
  static Result<IpEndpoint> parse(const std::string& address, std::uint16_t port);
  static IpEndpoint wildcard(Family family, std::uint16_t port);
  static Result<IpEndpoint> from_sockaddr(const sockaddr_storage& storage);

  [[nodiscard]] Family family() const;
  [[nodiscard]] std::string address() const;
  [[nodiscard]] std::uint16_t port() const;
  // Four words in network order; IPv4 in the first, as bpf/shared.h lays addresses out.
  void copy_words(std::uint32_t (&words)[4]) const;

  [[nodiscard]] const sockaddr* data() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  [[nodiscard]] socklen_t size() const;

  static IpEndpoint from_words(const std::uint32_t (&words)[4], Family family, std::uint16_t port_be);

 private:
  sockaddr_storage storage_{};
};

}  // namespace warren::capture
