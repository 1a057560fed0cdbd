#include "engine/http2/authority.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>

namespace warren::engine {

namespace {

// RFC 1035 §2.3.4, without the trailing dot.
constexpr size_t kLongestHost = 253;
constexpr size_t kLongestLabel = 63;

std::optional<uint16_t> parsePort(std::string_view text) {
  unsigned port = 0;
  if (text.empty() || text.size() > 5) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size() || port == 0 || port > 65535) return std::nullopt;
  return static_cast<uint16_t>(port);
}

bool isLabelChar(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

bool isDigit(char c) {
  return c >= '0' && c <= '9';
}

bool isHexDigit(char c) {
  return isDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

bool isLabel(std::string_view label) {
  return !label.empty() && label.size() <= kLongestLabel && label.front() != '-' && label.back() != '-' &&
         std::all_of(label.begin(), label.end(), isLabelChar);
}

// RFC 1123 §2.1. A name that ends in a number would be read as an address by others (WHATWG URL, "ends in a number").
bool isHostName(std::string_view host) {
  if (host.empty() || host.size() > kLongestHost) return false;
  std::string_view last;
  for (size_t start = 0; start <= host.size();) {
    const size_t dot = std::min(host.find('.', start), host.size());
    last = host.substr(start, dot - start);
    if (!isLabel(last)) return false;
    start = dot + 1;
  }
  const bool hex = last.size() >= 2 && last[0] == '0' && (last[1] == 'x' || last[1] == 'X');
  return hex ? !std::all_of(last.begin() + 2, last.end(), isHexDigit) : !std::all_of(last.begin(), last.end(), isDigit);
}

// RFC 9110 §5.6.2.
bool isTokenChar(char c) {
  return isDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool isToken(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), isTokenChar);
}

bool isLowerHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool isZero(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c == '0'; });
}

}  // namespace

std::optional<Authority> parseAuthority(std::string_view text) {
  Authority out;
  if (text.starts_with('[')) {
    const size_t close = text.find(']');
    if (close == std::string_view::npos || close + 1 >= text.size() || text[close + 1] != ':') return std::nullopt;
    const auto port = parsePort(text.substr(close + 2));
    const std::string_view inner = text.substr(1, close - 1);
    if (!port || inner.find(':') == std::string_view::npos) return std::nullopt;
    const auto address = Address::parseHost(inner, *port);
    if (!address) return std::nullopt;
    out.address = *address;
    out.host = inner;
    return out;
  }
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  out.host = text.substr(0, colon);
  const auto port = parsePort(text.substr(colon + 1));
  if (!port) return std::nullopt;
  if (const auto address = Address::parseHost(out.host, *port)) {
    out.address = *address;
    return out;
  }
  if (!isHostName(out.host)) return std::nullopt;
  out.address.port = *port;
  return out;
}

bool isPlainText(std::string_view value, size_t most) {
  return value.size() <= most && std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c <= 0x7e; });
}

bool isTraceparent(std::string_view value) {
  if (value.size() != 55 || value[2] != '-' || value[35] != '-' || value[52] != '-') return false;
  const std::string_view trace = value.substr(3, 32);
  const std::string_view span = value.substr(36, 16);
  return value.substr(0, 2) == "00" && isLowerHex(trace) && isLowerHex(span) && isLowerHex(value.substr(53)) &&
         !isZero(trace) && !isZero(span);
}

std::string formatForwarded(const Address& source, std::string_view host) {
  std::string out = "for=\"" + source.text() + "\"";
  if (host.empty()) return out;
  out.append(";host=");
  if (isToken(host)) return out.append(host);
  out.push_back('"');
  for (const char c : host) {
    if (c == '"' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  out.push_back('"');
  return out;
}

std::string formatTraceparent(uint64_t high, uint64_t low, uint64_t span, bool sampled) {
  std::array<char, 56> text{};
  std::snprintf(text.data(), text.size(), "00-%016llx%016llx-%016llx-%02x", static_cast<unsigned long long>(high),
                static_cast<unsigned long long>(low), static_cast<unsigned long long>(span), sampled ? 1U : 0U);
  return text.data();
}

}  // namespace warren::engine
