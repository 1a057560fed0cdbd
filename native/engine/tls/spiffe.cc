#include "engine/tls/spiffe.h"

#include <openssl/x509v3.h>

#include <algorithm>
#include <memory>

namespace warren::engine {

namespace {

constexpr std::string_view kScheme = "spiffe://";
constexpr size_t kLongestId = 2048;
constexpr size_t kLongestTrustDomain = 255;

bool digitOrMark(char c) {
  return (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

bool isTrustDomain(std::string_view text) {
  return !text.empty() && text.size() <= kLongestTrustDomain &&
         std::all_of(text.begin(), text.end(), [](char c) { return digitOrMark(c) || (c >= 'a' && c <= 'z'); });
}

bool isSegment(std::string_view text) {
  return !text.empty() && text != "." && text != ".." && std::all_of(text.begin(), text.end(), [](char c) {
    return digitOrMark(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  });
}

// Cuts `rest` at its next slash.
std::string_view nextPiece(std::string_view& rest) {
  const size_t slash = rest.find('/');
  const std::string_view piece = rest.substr(0, slash);
  rest = slash == std::string_view::npos ? std::string_view{} : rest.substr(slash + 1);
  return piece;
}

}  // namespace

std::string_view spiffeTrustDomain(std::string_view id) {
  if (!id.starts_with(kScheme) || id.size() > kLongestId) return {};
  std::string_view rest = id.substr(kScheme.size());
  if (std::count(rest.begin(), rest.end(), '/') != 4) return {};
  const std::string_view domain = nextPiece(rest);
  const bool shaped = isTrustDomain(domain) && nextPiece(rest) == "ns" && isSegment(nextPiece(rest)) &&
                      nextPiece(rest) == "sa" && isSegment(rest);
  return shaped ? domain : std::string_view{};
}

std::string spiffeIdOf(const X509* certificate) {
  const std::unique_ptr<GENERAL_NAMES, void (*)(GENERAL_NAMES*)> names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)),
      GENERAL_NAMES_free);
  if (names == nullptr) return {};
  std::string found;
  int uris = 0;
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); i++) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) continue;
    const ASN1_IA5STRING* uri = name->d.uniformResourceIdentifier;
    uris++;
    found.assign(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                 static_cast<size_t>(ASN1_STRING_length(uri)));
  }
  return uris == 1 && !spiffeTrustDomain(found).empty() ? found : std::string{};
}

}  // namespace warren::engine
