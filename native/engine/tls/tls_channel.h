#pragma once

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/base/byte_queue.h"
#include "engine/tls/credential.h"

namespace warren::engine {

// OpenSSL's side door: how its reads and writes reach a TlsChannel. One per engine.
class TlsTransport {
 public:
  TlsTransport();
  [[nodiscard]] const BIO_METHOD* method() const { return method_.get(); }

 private:
  std::unique_ptr<BIO_METHOD, decltype(&BIO_meth_free)> method_;
};

enum class TlsEnd : uint8_t { client, server };
enum class TlsStatus : uint8_t { done, wantInput, ended, failed };

// One TLS connection over bytes that somebody else reads and writes: `feed` it what arrived, send what is in `output`.
// Records of one `write` lie behind one another in `output`, so that many leave by one system call.
class TlsChannel {
 public:
  TlsChannel(SegmentPool& pool, Counters& counters) : pool_(pool), counters_(counters) {}
  TlsChannel(const TlsChannel&) = delete;
  TlsChannel& operator=(const TlsChannel&) = delete;
  ~TlsChannel();

  // `expected` null for a server; must outlive the handshake. `session` is a former session to resume, or null.
  bool begin(const TlsTransport& transport, std::shared_ptr<const CredentialVersion> credential, TlsEnd end,
             const std::vector<std::string>* expected, SSL_SESSION* session);
  [[nodiscard]] bool begun() const { return ssl_ != nullptr; }

  // Ciphertext for the next `handshake` or `read`, which use all of it before they return `wantInput`.
  void feed(std::span<const uint8_t> bytes) { input_ = bytes; }
  TlsStatus handshake();
  // Fills `out` as far as it can; `got` may be non-zero with any status.
  TlsStatus read(std::span<uint8_t> out, size_t& got);
  bool write(std::span<const uint8_t> bytes);
  void closeNotify();
  ByteQueue& output() { return output_; }

  // After `done`.
  [[nodiscard]] std::string version() const;
  [[nodiscard]] std::string group() const;
  [[nodiscard]] std::string cipher() const;
  [[nodiscard]] const std::string& peer() const { return verdict_.identity; }
  // After `failed`.
  [[nodiscard]] Reason failure() const { return verdict_.reason == Reason::ok ? Reason::tlsFailed : verdict_.reason; }
  [[nodiscard]] const std::string& detail() const { return verdict_.detail; }

  // Whether the peer's certificates are refused by a newer issue of the credential.
  [[nodiscard]] bool refusedBy(const CredentialVersion& newer, std::string& detail) const;
  [[nodiscard]] const std::shared_ptr<const CredentialVersion>& credential() const { return credential_; }
  // A session to resume later, once the peer sent a ticket and resumption is on.
  [[nodiscard]] SSL_SESSION* takeSession() { return session_.release(); }

  static int onVerify(int ok, X509_STORE_CTX* store);
  static int onNewSession(SSL* ssl, SSL_SESSION* session);

 private:
  friend class TlsTransport;
  static int onRead(BIO* bio, char* out, int size);
  static int onWrite(BIO* bio, const char* in, int size);
  static long onControl(BIO* bio, int command, long number, void* pointer);

  TlsStatus failed();
  bool judgeResumed();

  SegmentPool& pool_;
  Counters& counters_;
  ByteQueue output_;
  std::span<const uint8_t> input_;
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl_{nullptr, SSL_free};
  std::unique_ptr<SSL_SESSION, decltype(&SSL_SESSION_free)> session_{nullptr, SSL_SESSION_free};
  std::shared_ptr<const CredentialVersion> credential_;
  const std::vector<std::string>* expected_ = nullptr;
  Verdict verdict_;
};

}  // namespace warren::engine
