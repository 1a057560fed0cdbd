#pragma once

#include <openssl/x509.h>

#include <string>
#include <string_view>

namespace warren::engine {

// The trust domain of `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`, empty for anything else (SPIFFE-ID
// §2; the same rules as src/identity/spiffe.ts).
std::string_view spiffeTrustDomain(std::string_view id);

// The first URI name of the certificate that is a workload's SPIFFE id; empty without one.
std::string spiffeIdOf(const X509* certificate);

}  // namespace warren::engine
