#include "ip_address.h"

#include <arpa/inet.h>

#include <cstring>

namespace warren::capture {

namespace {

sockaddr_in as_v4(const sockaddr_storage& storage) {
  sockaddr_in result{};
  std::memcpy(&result, &storage, sizeof result);
  return result;
}

sockaddr_in6 as_v6(const sockaddr_storage& storage) {
  sockaddr_in6 result{};
  std::memcpy(&result, &storage, sizeof result);
  return result;
}

sockaddr_storage store_v4(in_addr address, std::uint16_t port_be) {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_addr = address;
  v4.sin_port = port_be;
  sockaddr_storage result{};
  std::memcpy(&result, &v4, sizeof v4);
  return result;
}

sockaddr_storage store_v6(const in6_addr& address, std::uint16_t port_be) {
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_addr = address;
  v6.sin6_port = port_be;
  sockaddr_storage result{};
  std::memcpy(&result, &v6, sizeof v6);
  return result;
}

}  // namespace

Result<IpEndpoint> IpEndpoint::parse(const std::string& address, std::uint16_t port) {
  IpEndpoint result;
  in_addr v4{};
  in6_addr v6{};
  if (::inet_pton(AF_INET, address.c_str(), &v4) == 1) {
    result.storage_ = store_v4(v4, htons(port));
    return result;
  }
  if (::inet_pton(AF_INET6, address.c_str(), &v6) == 1) {
    result.storage_ = store_v6(v6, htons(port));
    return result;
  }
  return Failure{"MESH_BAD_ADDRESS", "not an IP address: " + address};
}

IpEndpoint IpEndpoint::wildcard(Family family, std::uint16_t port) {
  IpEndpoint result;
  result.storage_ =
      family == Family::kV4 ? store_v4(in_addr{INADDR_ANY}, htons(port)) : store_v6(in6addr_any, htons(port));
  return result;
}

Result<IpEndpoint> IpEndpoint::from_sockaddr(const sockaddr_storage& storage) {
  IpEndpoint result;
  if (storage.ss_family == AF_INET) {
    result.storage_ = storage;
    return result;
  }
  if (storage.ss_family != AF_INET6) return Failure{"MESH_BAD_ADDRESS", "the socket is not an IP socket"};
  const sockaddr_in6 v6 = as_v6(storage);
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
    in_addr v4{};
    std::memcpy(&v4, &v6.sin6_addr.s6_addr[12], sizeof v4);
    result.storage_ = store_v4(v4, v6.sin6_port);
  } else {
    result.storage_ = storage;
  }
  return result;
}

Family IpEndpoint::family() const {
  return storage_.ss_family == AF_INET ? Family::kV4 : Family::kV6;
}

std::string IpEndpoint::address() const {
  char text[INET6_ADDRSTRLEN] = {};
  if (family() == Family::kV4) {
    const sockaddr_in v4 = as_v4(storage_);
    ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
  } else {
    const sockaddr_in6 v6 = as_v6(storage_);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
  }
  return text;
}

std::uint16_t IpEndpoint::port() const {
  return ntohs(family() == Family::kV4 ? as_v4(storage_).sin_port : as_v6(storage_).sin6_port);
}

void IpEndpoint::copy_words(std::uint32_t (&words)[4]) const {
  std::memset(words, 0, sizeof words);
  if (family() == Family::kV4) {
    words[0] = as_v4(storage_).sin_addr.s_addr;
  } else {
    const sockaddr_in6 v6 = as_v6(storage_);
    std::memcpy(words, &v6.sin6_addr, sizeof words);
  }
}

socklen_t IpEndpoint::size() const {
  return family() == Family::kV4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
}

IpEndpoint IpEndpoint::from_words(const std::uint32_t (&words)[4], Family family, std::uint16_t port_be) {
  IpEndpoint result;
  if (family == Family::kV4) {
    result.storage_ = store_v4(in_addr{words[0]}, port_be);
  } else {
    in6_addr v6{};
    std::memcpy(&v6, words, sizeof v6);
    result.storage_ = store_v6(v6, port_be);
  }
  return result;
}

}  // namespace warren::capture
