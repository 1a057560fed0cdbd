#include "engine/base/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

namespace warren::engine {

namespace {
constexpr std::array<uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

Address fromV6(const in6_addr& in, uint16_t port) {
  Address address;
  address.port = port;
  if (std::memcmp(&in, kMapped.data(), kMapped.size()) == 0) {
    address.family = 4;
    std::memcpy(address.ip.data(), reinterpret_cast<const uint8_t*>(&in) + kMapped.size(), 4);
  } else {
    address.family = 6;
    std::memcpy(address.ip.data(), &in, 16);
  }
  return address;
}
}  // namespace

std::string Address::host() const {
  std::array<char, INET6_ADDRSTRLEN> buffer{};
  if (family == 0 || inet_ntop(family == 4 ? AF_INET : AF_INET6, ip.data(), buffer.data(), buffer.size()) == nullptr) {
    return {};
  }
  return buffer.data();
}

std::string Address::text() const {
  if (family == 0) return {};
  const std::string number = std::to_string(port);
  return family == 6 ? "[" + host() + "]:" + number : host() + ":" + number;
}

socklen_t Address::toSockaddr(sockaddr_storage& out) const {
  std::memset(&out, 0, sizeof out);
  if (family == 4) {
    auto* in = reinterpret_cast<sockaddr_in*>(&out);
    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    std::memcpy(&in->sin_addr, ip.data(), 4);
    return sizeof(sockaddr_in);
  }
  auto* in = reinterpret_cast<sockaddr_in6*>(&out);
  in->sin6_family = AF_INET6;
  in->sin6_port = htons(port);
  std::memcpy(&in->sin6_addr, ip.data(), 16);
  return sizeof(sockaddr_in6);
}

Address Address::from(const sockaddr_storage& in) {
  Address address;
  if (in.ss_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&in);
    address.family = 4;
    address.port = ntohs(v4->sin_port);
    std::memcpy(address.ip.data(), &v4->sin_addr, 4);
  } else if (in.ss_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&in);
    address = fromV6(v6->sin6_addr, ntohs(v6->sin6_port));
  }
  return address;
}

std::optional<Address> Address::parseHost(std::string_view host, uint16_t port) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (host.empty() || host.size() >= text.size()) return std::nullopt;
  std::copy(host.begin(), host.end(), text.begin());
  Address address;
  address.port = port;
  if (inet_pton(AF_INET, text.data(), address.ip.data()) == 1) {
    address.family = 4;
    return address;
  }
  in6_addr v6{};
  if (inet_pton(AF_INET6, text.data(), &v6) == 1) return fromV6(v6, port);
  return std::nullopt;
}

}  // namespace warren::engine
