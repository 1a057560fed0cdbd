#include "engine/tls/tls_channel.h"

#include <openssl/err.h>
#include <openssl/objects.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <new>

namespace warren::engine {

namespace {

constexpr size_t kRecordOverhead = 22;  // header 5, content type 1, tag 16 (RFC 8446 §5.2)
constexpr size_t kRecordPayload = 16384;

// OpenSSL reports a received alert as this much above the alert's number.
constexpr int kAlertBase = 1000;
constexpr int kAlertCertificateRevoked = 44;

}  // namespace

TlsTransport::TlsTransport() : method_(BIO_meth_new(BIO_TYPE_SOURCE_SINK, "warren"), BIO_meth_free) {
  if (method_ == nullptr) throw std::bad_alloc();
  BIO_meth_set_read(method_.get(), TlsChannel::onRead);
  BIO_meth_set_write(method_.get(), TlsChannel::onWrite);
  BIO_meth_set_ctrl(method_.get(), TlsChannel::onControl);
}

TlsChannel::~TlsChannel() {
  output_.clear(pool_, counters_.outputBytes);
}

bool TlsChannel::begin(const TlsTransport& transport, std::shared_ptr<const CredentialVersion> credential, TlsEnd end,
                       const std::vector<std::string>* expected, SSL_SESSION* session) {
  credential_ = std::move(credential);
  expected_ = expected;
  ssl_.reset(SSL_new(credential_->context()));
  BIO* bio = BIO_new(transport.method());
  if (ssl_ == nullptr || bio == nullptr) {
    BIO_free(bio);
    return false;
  }
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_.get(), bio, bio);
  SSL_set_app_data(ssl_.get(), this);
  if (end == TlsEnd::client) {
    SSL_set_connect_state(ssl_.get());
    if (session != nullptr) SSL_set_session(ssl_.get(), session);
  } else {
    SSL_set_accept_state(ssl_.get());
  }
  return true;
}

int TlsChannel::onRead(BIO* bio, char* out, int size) {
  auto* self = static_cast<TlsChannel*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  if (self->input_.empty()) {
    BIO_set_retry_read(bio);
    return -1;
  }
  const size_t part = std::min(static_cast<size_t>(size), self->input_.size());
  std::memcpy(out, self->input_.data(), part);
  self->input_ = self->input_.subspan(part);
  return static_cast<int>(part);
}

int TlsChannel::onWrite(BIO* bio, const char* in, int size) {
  auto* self = static_cast<TlsChannel*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  self->output_.append(self->pool_, self->counters_.outputBytes,
                       {reinterpret_cast<const uint8_t*>(in), static_cast<size_t>(size)});
  return size;
}

long TlsChannel::onControl(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

TlsStatus TlsChannel::handshake() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_.get());
  if (result == 1) return judgeResumed() ? TlsStatus::done : failed();
  return SSL_get_error(ssl_.get(), result) == SSL_ERROR_WANT_READ ? TlsStatus::wantInput : failed();
}

// A resumed handshake shows no certificate: the one of the session is judged again, dates included.
bool TlsChannel::judgeResumed() {
  if (SSL_session_reused(ssl_.get()) == 0) return true;
  const X509* leaf = SSL_get0_peer_certificate(ssl_.get());
  if (leaf == nullptr) return false;
  verdict_ = credential_->judge(leaf, expected_);
  if (verdict_.reason == Reason::ok && X509_cmp_current_time(X509_get0_notAfter(leaf)) <= 0) {
    verdict_.reason = Reason::tlsFailed;
    verdict_.detail = X509_verify_cert_error_string(X509_V_ERR_CERT_HAS_EXPIRED);
  }
  return verdict_.reason == Reason::ok;
}

TlsStatus TlsChannel::read(std::span<uint8_t> out, size_t& got) {
  got = 0;
  ERR_clear_error();
  while (got < out.size()) {
    size_t part = 0;
    if (SSL_read_ex(ssl_.get(), out.data() + got, out.size() - got, &part) == 1) {
      got += part;
      continue;
    }
    switch (SSL_get_error(ssl_.get(), 0)) {
      case SSL_ERROR_WANT_READ:
        return TlsStatus::wantInput;
      case SSL_ERROR_ZERO_RETURN:
        return TlsStatus::ended;
      default:
        return failed();
    }
  }
  return TlsStatus::done;
}

bool TlsChannel::write(std::span<const uint8_t> bytes) {
  if (bytes.empty()) return true;
  const size_t records = (bytes.size() + kRecordPayload - 1) / kRecordPayload;
  output_.expect(pool_, bytes.size() + records * kRecordOverhead);
  ERR_clear_error();
  size_t written = 0;
  if (SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &written) == 1) return true;
  failed();
  return false;
}

void TlsChannel::closeNotify() {
  if (ssl_ == nullptr || SSL_in_init(ssl_.get()) != 0) return;
  ERR_clear_error();
  SSL_shutdown(ssl_.get());
  ERR_clear_error();
}

TlsStatus TlsChannel::failed() {
  const unsigned long code = ERR_peek_error();
  if (verdict_.detail.empty() && code != 0) {
    const char* words = ERR_reason_error_string(code);
    verdict_.detail = words == nullptr ? "TLS error" : words;
    if (ERR_GET_REASON(code) == kAlertBase + kAlertCertificateRevoked) verdict_.reason = Reason::certificateRevoked;
  }
  ERR_clear_error();
  return TlsStatus::failed;
}

int TlsChannel::onVerify(int ok, X509_STORE_CTX* store) {
  const auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto* self = static_cast<TlsChannel*>(SSL_get_app_data(ssl));
  const int error = X509_STORE_CTX_get_error(store);
  if (ok == 0) {
    switch (error) {
      // An issuer without a CRL, or with one that was not renewed in time, revokes nothing beyond what it lists.
      case X509_V_ERR_UNABLE_TO_GET_CRL:
      case X509_V_ERR_CRL_HAS_EXPIRED:
      case X509_V_ERR_CRL_NOT_YET_VALID:
        X509_STORE_CTX_set_error(store, X509_V_OK);
        return 1;
      default:
        self->verdict_.reason = error == X509_V_ERR_CERT_REVOKED ? Reason::certificateRevoked : Reason::tlsFailed;
        self->verdict_.detail = X509_verify_cert_error_string(error);
        return 0;
    }
  }
  if (X509_STORE_CTX_get_error_depth(store) != 0) return 1;
  self->verdict_ = self->credential_->judge(X509_STORE_CTX_get_current_cert(store), self->expected_);
  if (self->verdict_.reason == Reason::ok) return 1;
  X509_STORE_CTX_set_error(store, self->verdict_.reason == Reason::certificateRevoked
                                      ? X509_V_ERR_CERT_REVOKED
                                      : X509_V_ERR_APPLICATION_VERIFICATION);
  return 0;
}

int TlsChannel::onNewSession(SSL* ssl, SSL_SESSION* session) {
  auto* self = static_cast<TlsChannel*>(SSL_get_app_data(ssl));
  self->session_.reset(session);
  return 1;  // ours now
}

bool TlsChannel::refusedBy(const CredentialVersion& newer, std::string& detail) const {
  if (ssl_ == nullptr) return false;
  return newer.refuses(SSL_get0_peer_certificate(ssl_.get()), SSL_get0_verified_chain(ssl_.get()), detail);
}

std::string TlsChannel::version() const {
  return SSL_get_version(ssl_.get());
}

std::string TlsChannel::cipher() const {
  const char* name = SSL_get_cipher_name(ssl_.get());
  return name == nullptr ? "" : name;
}

std::string TlsChannel::group() const {
#if OPENSSL_VERSION_NUMBER >= 0x30200000L
  const char* name = SSL_get0_group_name(ssl_.get());
#else
  const char* name = OBJ_nid2sn(static_cast<int>(SSL_get_negotiated_group(ssl_.get())));
#endif
  return name == nullptr ? "" : name;
}

}  // namespace warren::engine
