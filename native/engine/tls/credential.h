#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/core/options.h"
#include "engine/core/reason.h"

namespace warren::engine {

// As `CredentialSpec` of src/tunnel/engine.ts.
struct CredentialSpec {
  std::string identity;
  std::string chain;
  std::string privateKey;
  std::string trustBundle;
  std::string crl;
  std::vector<std::string> trustDomains;
  std::vector<std::string> deniedIdentities;
};

// The certificate material could not be used; the text says which part and why.
class CredentialError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// What became of a peer's proof.
struct Verdict {
  Reason reason = Reason::ok;
  std::string detail;
  std::string identity;
};

template <typename T, void (*Free)(T*)>
struct FreeWith {
  void operator()(T* held) const { Free(held); }
};
template <typename T, void (*Free)(T*)>
using Owned = std::unique_ptr<T, FreeWith<T, Free>>;
using OwnedX509 = Owned<X509, X509_free>;
using OwnedCrl = Owned<X509_CRL, X509_CRL_free>;

// A revocation list, and the last issuer that its signature was held against.
struct SignedList {
  explicit SignedList(OwnedCrl crl) : crl(std::move(crl)) {}
  [[nodiscard]] bool isBy(X509* issuer) const;

  const OwnedCrl crl;
  mutable std::mutex mutex;
  mutable OwnedX509 checked;
  mutable bool good = false;
};

// One issue of a credential, immutable: handshakes begun under it end under it. Shared by all workers.
class CredentialVersion {
 public:
  // Throws CredentialError.
  CredentialVersion(const CredentialSpec& spec, const TlsSettings& settings);

  [[nodiscard]] SSL_CTX* context() const { return context_.get(); }
  // Judges a peer whose chain was verified. `expected` null: any identity of a trusted domain.
  [[nodiscard]] Verdict judge(const X509* leaf, const std::vector<std::string>* expected) const;
  // Whether a chain that once was verified is refused now: revoked or denied.
  [[nodiscard]] bool refuses(X509* leaf, STACK_OF(X509) * chain, std::string& detail) const;

 private:
  // Revoked by its issuer; by who has its issuer's name, where the issuer is null.
  [[nodiscard]] bool listed(X509* certificate, X509* issuer) const;

  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_{nullptr, SSL_CTX_free};
  std::set<std::string, std::less<>> trustDomains_;
  std::set<std::string, std::less<>> denied_;
  std::deque<SignedList> crls_;
};

// One SPIFFE id's certificates over time.
class Credential {
 public:
  explicit Credential(uint64_t handle) : handle_(handle) {}

  [[nodiscard]] uint64_t handle() const { return handle_; }
  [[nodiscard]] std::shared_ptr<const CredentialVersion> current() const {
    const std::lock_guard lock(mutex_);
    return version_;
  }
  void replace(std::shared_ptr<const CredentialVersion> version) {
    const std::lock_guard lock(mutex_);
    version_ = std::move(version);
  }

 private:
  const uint64_t handle_;
  mutable std::mutex mutex_;
  std::shared_ptr<const CredentialVersion> version_;
};

}  // namespace warren::engine
