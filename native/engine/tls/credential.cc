#include "engine/tls/credential.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "engine/tls/spiffe.h"
#include "engine/tls/tls_channel.h"

namespace warren::engine {

namespace {

constexpr std::string_view kAlpn = "\x02h2";

using OwnedBio = std::unique_ptr<BIO, decltype([](BIO* bio) { BIO_free_all(bio); })>;
using OwnedKey = Owned<EVP_PKEY, EVP_PKEY_free>;

std::string lastError() {
  std::array<char, 256> text{};
  const unsigned long code = ERR_peek_last_error();
  if (code == 0) return "no detail";
  ERR_error_string_n(code, text.data(), text.size());
  return text.data();
}

[[noreturn]] void fail(const std::string& what) {
  const std::string detail = lastError();
  ERR_clear_error();
  throw CredentialError(what + ": " + detail);
}

OwnedBio reader(const std::string& pem) {
  OwnedBio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  if (bio == nullptr) fail("out of memory");
  return bio;
}

// After a loop of PEM reads: the end of the text is not an error, anything else is.
void expectEnd(const char* what) {
  const unsigned long code = ERR_peek_last_error();
  if (code != 0 && !(ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE)) fail(what);
  ERR_clear_error();
}

void loadChain(SSL_CTX* context, const std::string& pem) {
  const OwnedBio bio = reader(pem);
  const OwnedX509 leaf(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (leaf == nullptr) fail("the certificate chain holds no certificate");
  if (SSL_CTX_use_certificate(context, leaf.get()) != 1) fail("the leaf certificate was not accepted");
  while (true) {
    const OwnedX509 next(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (next == nullptr) break;
    if (SSL_CTX_add1_chain_cert(context, next.get()) != 1) fail("an intermediate certificate was not accepted");
  }
  expectEnd("the certificate chain is not PEM");
}

void loadKey(SSL_CTX* context, const std::string& pem) {
  const OwnedBio bio = reader(pem);
  // An empty passphrase callback: never ask on the terminal.
  const OwnedKey key(PEM_read_bio_PrivateKey(
      bio.get(), nullptr, [](char*, int, int, void*) { return 0; }, nullptr));
  if (key == nullptr) fail("the private key is not PEM");
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1) fail("the private key does not belong to the certificate");
}

void loadTrust(SSL_CTX* context, const std::string& pem) {
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  const OwnedBio bio = reader(pem);
  int count = 0;
  while (true) {
    const OwnedX509 anchor(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (anchor == nullptr) break;
    if (X509_STORE_add_cert(store, anchor.get()) != 1) fail("a certificate of the trust bundle was not accepted");
    // Clients with several certificates choose by the names in the request for one (RFC 8446 §4.2.4).
    SSL_CTX_add_client_CA(context, anchor.get());
    count++;
  }
  expectEnd("the trust bundle is not PEM");
  if (count == 0) throw CredentialError("the trust bundle holds no certificate");
}

void loadCrls(X509_STORE* store, const std::string& pem, std::deque<SignedList>& lists) {
  if (pem.find_first_not_of(" \t\r\n") == std::string::npos) return;
  const OwnedBio bio = reader(pem);
  while (true) {
    OwnedCrl crl(PEM_read_bio_X509_CRL(bio.get(), nullptr, nullptr, nullptr));
    if (crl == nullptr) break;
    if (X509_STORE_add_crl(store, crl.get()) != 1) fail("a CRL was not accepted");
    lists.emplace_back(std::move(crl));
  }
  expectEnd("the CRL is not PEM");
  if (lists.empty()) throw CredentialError("the CRL text holds no CRL");
  X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
}

// A client that offers ALPN must offer h2 (RFC 7301 §3.2); one that offers none is taken at its word.
int selectAlpn(SSL*, const unsigned char** out, unsigned char* length, const unsigned char* in, unsigned int size,
               void*) {
  unsigned char* chosen = nullptr;
  const auto* ours = reinterpret_cast<const unsigned char*>(kAlpn.data());
  if (SSL_select_next_proto(&chosen, length, ours, kAlpn.size(), in, size) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

void setResumption(SSL_CTX* context, bool on) {
  if (!on) {
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context, 0);
    return;
  }
  // Ticket keys live and die with this context: a new certificate, bundle, CRL or denial makes every older ticket
  // worthless, so a resumed session was judged under the state that is still in force.
  std::array<unsigned char, 16> id{};
  if (RAND_bytes(id.data(), static_cast<int>(id.size())) != 1) fail("no random bytes");
  SSL_CTX_set_session_id_context(context, id.data(), static_cast<unsigned>(id.size()));
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(context, TlsChannel::onNewSession);
  SSL_CTX_set_num_tickets(context, 1);
}

}  // namespace

CredentialVersion::CredentialVersion(const CredentialSpec& spec, const TlsSettings& settings)
    : trustDomains_(spec.trustDomains.begin(), spec.trustDomains.end()),
      denied_(spec.deniedIdentities.begin(), spec.deniedIdentities.end()) {
  ERR_clear_error();
  context_.reset(SSL_CTX_new(TLS_method()));
  SSL_CTX* context = context_.get();
  if (context == nullptr) fail("no TLS context");
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION);
  // Idle tunnels give OpenSSL's record buffers back.
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (SSL_CTX_set_ciphersuites(context, settings.ciphers.c_str()) != 1) fail("the TLS cipher suites are not known");
  if (SSL_CTX_set1_groups_list(context, settings.groups.c_str()) != 1) fail("the TLS groups are not known");
  if (SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>(kAlpn.data()), kAlpn.size()) != 0) {
    fail("ALPN was not accepted");
  }
  SSL_CTX_set_alpn_select_cb(context, selectAlpn, nullptr);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, TlsChannel::onVerify);
  setResumption(context, settings.resumption);

  loadChain(context, spec.chain);
  loadKey(context, spec.privateKey);
  const X509* leaf = SSL_CTX_get0_certificate(context);
  if (spiffeIdOf(leaf) != spec.identity) {
    throw CredentialError("the leaf certificate is not for " + spec.identity);
  }
  loadTrust(context, spec.trustBundle);
  loadCrls(SSL_CTX_get_cert_store(context), spec.crl, crls_);
}

Verdict CredentialVersion::judge(const X509* leaf, const std::vector<std::string>* expected) const {
  Verdict verdict;
  verdict.identity = spiffeIdOf(leaf);
  if (verdict.identity.empty()) {
    verdict.reason = Reason::identityMismatch;
    verdict.detail = "the certificate carries no workload SPIFFE id";
  } else if (denied_.contains(verdict.identity)) {
    verdict.reason = Reason::certificateRevoked;
    verdict.detail = verdict.identity + " is denied";
  } else if (!trustDomains_.contains(spiffeTrustDomain(verdict.identity))) {
    verdict.reason = Reason::identityMismatch;
    verdict.detail = verdict.identity + " is of another trust domain";
  } else if (expected != nullptr &&
             std::find(expected->begin(), expected->end(), verdict.identity) == expected->end()) {
    verdict.reason = Reason::identityMismatch;
    verdict.detail = "the peer is " + verdict.identity;
  }
  return verdict;
}

bool CredentialVersion::refuses(X509* leaf, STACK_OF(X509) * chain, std::string& detail) const {
  if (leaf == nullptr) return false;
  const std::string identity = spiffeIdOf(leaf);
  if (denied_.contains(identity)) {
    detail = identity + " is denied";
    return true;
  }
  // The chain itself was verified when the tunnel opened, so each of its certificates is followed by its issuer. To
  // look them up is all that is left to do: a change of the list asks about every open tunnel at once.
  const int last = sk_X509_num(chain) - 1;
  // A resumed session knows its peer's certificate and no other: then the issuer's name must do.
  if (last < 0 && listed(leaf, nullptr)) {
    detail = X509_verify_cert_error_string(X509_V_ERR_CERT_REVOKED);
    return true;
  }
  for (int i = 0; i <= last; i++) {
    if (!listed(sk_X509_value(chain, i), sk_X509_value(chain, std::min(i + 1, last)))) continue;
    detail = X509_verify_cert_error_string(X509_V_ERR_CERT_REVOKED);
    return true;
  }
  return false;
}

bool CredentialVersion::listed(X509* certificate, X509* issuer) const {
  return std::any_of(crls_.begin(), crls_.end(), [&](const SignedList& list) {
    if (X509_NAME_cmp(X509_CRL_get_issuer(list.crl.get()), X509_get_issuer_name(certificate)) != 0) return false;
    X509_REVOKED* entry = nullptr;
    // 2: listed as taken off the list.
    if (X509_CRL_get0_by_cert(list.crl.get(), &entry, certificate) != 1) return false;
    return issuer == nullptr || list.isBy(issuer);
  });
}

// A signature is checked once for each issuer that a list is held against, which is one.
bool SignedList::isBy(X509* issuer) const {
  const std::lock_guard lock(mutex);
  if (checked != nullptr && X509_cmp(checked.get(), issuer) == 0) return good;
  EVP_PKEY* key = X509_get0_pubkey(issuer);
  good = key != nullptr && X509_CRL_verify(crl.get(), key) == 1;
  ERR_clear_error();
  X509_up_ref(issuer);
  checked.reset(issuer);
  return good;
}

}  // namespace warren::engine
