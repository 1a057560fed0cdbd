#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "engine/base/address.h"

namespace warren::engine {

// The target of a CONNECT: an address, or a host name with a port in `address.port` and family 0.
struct Authority {
  Address address;
  std::string_view host;
};

// `1.2.3.4:80`, `[::1]:80` or `name.example:80` (RFC 9110 §9.3.6: host and port, no user information); nothing for
// anything else.
std::optional<Authority> parseAuthority(std::string_view text);

// Whether a peer's header value may be shown to people: printable ASCII of bounded length. Others are dropped, they are
// telemetry only.
bool isPlainText(std::string_view value, size_t most);

// `00-<32 hex>-<16 hex>-<2 hex>` with neither id zero (W3C Trace Context §3.2).
bool isTraceparent(std::string_view value);

// `for="<address>"` and, if a service was addressed, `;host=<name>` (RFC 7239).
std::string formatForwarded(const Address& source, std::string_view host);
// A traceparent with these random bytes.
std::string formatTraceparent(uint64_t high, uint64_t low, uint64_t span, bool sampled);

}  // namespace warren::engine
