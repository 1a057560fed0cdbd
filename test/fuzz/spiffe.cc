// Certificates and the SPIFFE ids in them. OpenSSL parses the DER; which names count is decided by us.
#include <openssl/x509.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "engine/tls/spiffe.h"

using namespace warren::engine;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::string_view domain = spiffeTrustDomain(text);
  if (!domain.empty()) {
    // A part of the text itself, and no more than a host name may be.
    if (domain.data() != text.data() + 9 || domain.find_first_of("/:@%\0 ", 0, 6) != std::string_view::npos)
      std::abort();
    if (text.find_first_of(std::string_view("\0\r\n %?#", 7)) != std::string_view::npos) std::abort();
  }
  const unsigned char* der = data;
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(d2i_X509(nullptr, &der, static_cast<long>(size)),
                                                                X509_free);
  if (certificate != nullptr) {
    const std::string id = spiffeIdOf(certificate.get());
    if (!id.empty() && spiffeTrustDomain(id).empty()) std::abort();
  }
  return 0;
}
