#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace warren::engine {

// A TCP address in the form in which it crosses to TypeScript: 20 bytes, IPv4 in the first four of `ip`, v4-mapped
// never.
struct Address {
  uint8_t family = 0;  // 0 none, 4 or 6
  uint8_t pad = 0;
  uint16_t port = 0;  // host order
  std::array<uint8_t, 16> ip{};

  [[nodiscard]] bool none() const { return family == 0; }
  [[nodiscard]] bool sameHost(const Address& other) const { return family == other.family && ip == other.ip; }
  [[nodiscard]] bool operator==(const Address& other) const = default;

  // Host text as RFC 5952 writes it; `text` adds the port, with brackets around IPv6.
  [[nodiscard]] std::string host() const;
  [[nodiscard]] std::string text() const;
  // Fills `out` for a system call; returns the length.
  socklen_t toSockaddr(sockaddr_storage& out) const;

  static Address from(const sockaddr_storage& in);
  // An IP literal without brackets.
  static std::optional<Address> parseHost(std::string_view host, uint16_t port);
};

static_assert(sizeof(Address) == 20);

}  // namespace warren::engine
