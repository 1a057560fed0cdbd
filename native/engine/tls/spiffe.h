#pragma once

#include <openssl/x509.h>

#include <string>
#include <string_view>

namespace warren::engine {

// The trust domain of `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`, empty for anything else (SPIFFE-ID
// §2; the same rules as src/identity/spiffe.ts).
std::string_view spiffeTrustDomain(std::string_view id);

// The workload's SPIFFE id that the certificate proves; empty for none. X509-SVID §2 allows exactly one URI name: with
// two, which one a peer means would be its choice.
std::string spiffeIdOf(const X509* certificate);

}  // namespace warren::engine
