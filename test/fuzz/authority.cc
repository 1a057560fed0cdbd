// The target of a CONNECT and the header texts that come with it: peer bytes, straight from HPACK. What is accepted
// must be what an address or a name may be, and an accepted address must survive being written and read again.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/http2/authority.h"

using namespace warren::engine;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto authority = parseAuthority(text)) {
    if (authority->address.port == 0 || authority->host.empty()) std::abort();
    if (!authority->address.none()) {
      const auto again = parseAuthority(authority->address.text());
      if (!again || !(again->address == authority->address)) std::abort();
    } else if (authority->host.find_first_of(" \r\n\t\"[]@/") != std::string_view::npos) {
      std::abort();
    }
  }
  if (isTraceparent(text) && text.size() != 55) std::abort();
  // What may be logged holds no byte that ends a line or a record.
  if (isPlainText(text, 8192) && text.find_first_of(std::string_view("\0\r\n\x7f", 4)) != std::string_view::npos)
    std::abort();
  return 0;
}
