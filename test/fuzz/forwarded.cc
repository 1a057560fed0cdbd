// The `forwarded` header of a CONNECT that we send: its host comes from the mesh's configuration. Whatever it is, the
// value stays one element of two pairs (RFC 7239 §4), so that nobody's name can be read as another pair or as another
// hop.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "engine/http2/authority.h"

using namespace warren::engine;

namespace {

// Past a token or a quoted string, whose text is added to `out`.
size_t readValue(std::string_view text, size_t at, std::string& out) {
  if (at < text.size() && text[at] == '"') {
    for (at++; at < text.size() && text[at] != '"'; at++) {
      if (text[at] == '\\') at++;
      if (at < text.size()) out.push_back(text[at]);
    }
    if (at >= text.size()) std::abort();
    return at + 1;
  }
  for (; at < text.size() && std::string_view("\"(),/:;<=>?@[\\]{} \t").find(text[at]) == std::string_view::npos; at++)
    out.push_back(text[at]);
  return at;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Address source;
  constexpr size_t kFixed = 19;
  if (size < kFixed) return 0;
  source.family = (data[0] & 1) != 0 ? 4 : 6;
  std::memcpy(&source.port, data + 1, sizeof source.port);
  std::memcpy(source.ip.data(), data + 3, source.ip.size());
  const std::string host(reinterpret_cast<const char*>(data) + kFixed, size - kFixed);
  const std::string text = formatForwarded(source, host);

  std::string from;
  if (text.rfind("for=", 0) != 0) std::abort();
  size_t at = readValue(text, 4, from);
  if (from != source.text()) std::abort();
  std::string said;
  if (host.empty()) return at == text.size() ? 0 : (std::abort(), 0);
  if (text.compare(at, 6, ";host=") != 0) std::abort();
  at = readValue(text, at + 6, said);
  if (at != text.size() || said != host) std::abort();
  return 0;
}
