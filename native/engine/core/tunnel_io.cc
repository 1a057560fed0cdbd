// Bytes of a tunnel. In: the socket is read into one large buffer, decrypted into another, and parsed there; flows
// write to their sockets straight from it. Out: flows take turns to read from their sockets straight behind a frame
// header in a batch of eight TLS records, which is encrypted at once and leaves by one system call.
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "engine/core/engine.h"
#include "engine/core/tunnel.h"
#include "engine/core/worker.h"
#include "engine/net/error_text.h"

namespace warren::engine {

namespace {

constexpr size_t kFrameHeader = 9;  // RFC 9113 §4.1
// What a flow may send before the next one has its turn.
constexpr size_t kQuantum = size_t{64} * 1024;
// A turn that moved this much is one of a bulk transfer.
constexpr size_t kBulk = size_t{32} * 1024;
// A rest of the batch that is not worth a frame.
constexpr size_t kSmallestRest = 512;
// Batches and reads before other tunnels of the worker get theirs.
constexpr int kBatches = 4;
constexpr size_t kReadTurn = size_t{1024} * 1024;

}  // namespace

void Tunnel::receive() {
  Scratch& scratch = worker_.scratch();
  for (size_t moved = 0; moved < kReadTurn && state_ != State::closed;) {
    const ssize_t got = recv(fd_.get(), scratch.cipher.get(), Scratch::kCipher, 0);
    if (got < 0) {
      readable_ = false;
      if (errno == EAGAIN) return;
      if (state_ == State::ready || state_ == State::draining) return close(Reason::tunnelLost, errorText(errno));
      // In TLS 1.3 the client is done before the server judged its certificate: a refusal may look like this.
      const int error = errno;
      return setupFailed(Reason::tlsFailed, errorText(error));
    }
    if (got == 0) {
      readable_ = false;
      if (state_ == State::ready) return close(Reason::tunnelLost, "the peer closed the connection");
      if (state_ == State::draining)
        return close(empty() ? Reason::ok : Reason::tunnelLost, "the peer closed the connection");
      return setupFailed(Reason::tlsFailed, state_ == State::greeting
                                                ? "closed before HTTP/2 SETTINGS; did the peer refuse our certificate?"
                                                : "closed in the TLS handshake");
    }
    const auto size = static_cast<size_t>(got);
    if (size < Scratch::kCipher && !ended_) readable_ = false;
    moved += size;
    processCipher({scratch.cipher.get(), size});
    if (!readable_) break;
  }
  if (state_ != State::closed && readable_) worker_.soon(*this);
}

void Tunnel::processCipher(std::span<const uint8_t> bytes) {
  tls_.feed(bytes);
  if (state_ == State::handshaking) {
    handshake();
    if (state_ == State::handshaking || state_ == State::closed) return;
  }
  Scratch& scratch = worker_.scratch();
  while (state_ != State::closed) {
    size_t got = 0;
    const TlsStatus status = tls_.read({scratch.plain.get(), Scratch::kPlain}, got);
    if (got > 0) processPlain({scratch.plain.get(), got});
    if (state_ == State::closed || status == TlsStatus::done) continue;
    if (outbound()) {
      if (SSL_SESSION* session = tls_.takeSession()) group_->keepSession(tls_.credential(), session);
    }
    if (status == TlsStatus::wantInput) break;
    if (state_ == State::greeting) {
      return setupFailed(tls_.failure(), status == TlsStatus::ended ? "closed before HTTP/2 SETTINGS" : tls_.detail());
    }
    const bool clean = status == TlsStatus::ended && empty();
    return close(clean ? Reason::ok : Reason::tunnelLost,
                 status == TlsStatus::ended ? "the peer closed the connection" : tls_.detail());
  }
  if (state_ != State::closed && wantsToSend()) worker_.soon(*this);
}

void Tunnel::processPlain(std::span<const uint8_t> bytes) {
  busy_ = true;
  const ssize_t used = nghttp2_session_mem_recv(session_.get(), bytes.data(), bytes.size());
  busy_ = false;
  if (used < 0) fail(Reason::h2Failed, errorDetail_.empty() ? nghttp2_strerror(static_cast<int>(used)) : errorDetail_);
  worker_.settleTouched();
  relax();
  checkDone();
}

void Tunnel::checkDone() {
  if (state_ == State::closed) return;
  if (failReason_ != Reason::ok) {
    if (state_ == State::greeting) return setupFailed(failReason_, failDetail_);
    return close(failReason_, failDetail_);
  }
  if (session_ == nullptr) return;
  if (nghttp2_session_want_read(session_.get()) == 0 && nghttp2_session_want_write(session_.get()) == 0) {
    // nghttp2 ended the session: a GOAWAY with an error went either way.
    const bool broken = state_ == State::greeting || !errorDetail_.empty() || !empty();
    if (state_ == State::greeting) return setupFailed(Reason::h2Failed, errorDetail_);
    close(broken ? Reason::h2Failed : Reason::ok, errorDetail_);
  }
}

bool Tunnel::wantsToSend() const {
  return !fresh_.empty() || !bulk_.empty() || (session_ != nullptr && nghttp2_session_want_write(session_.get()) != 0);
}

void Tunnel::pump() {
  if (busy_ || state_ == State::closed) return;
  if (!flushOutput() || session_ == nullptr) return;
  for (int batch = 0; batch < kBatches; batch++) {
    busy_ = true;
    const size_t staged = fill();
    busy_ = false;
    if (staged > 0 && !tls_.write({worker_.scratch().batch.get(), staged})) fail(Reason::tunnelLost, tls_.detail());
    worker_.settleTouched();
    if (state_ == State::closed) return;
    if (!flushOutput()) return;
    if (staged == 0) return checkDone();
  }
  if (wantsToSend()) worker_.soon(*this);
  checkDone();
}

bool Tunnel::batchFull() const {
  return staged_ + kFrameHeader + kSmallestRest > Scratch::kBatch;
}

size_t Tunnel::fill() {
  staged_ = 0;
  turn_ = nullptr;
  while (!batchFull()) {
    const uint8_t* frame = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_.get(), &frame);
    if (size < 0) {
      fail(Reason::h2Failed, nghttp2_strerror(static_cast<int>(size)));
      break;
    }
    if (size > 0) {
      // A control frame; a header block has at most a few frames of 16 KiB, for which there is slack behind the batch.
      if (staged_ + static_cast<size_t>(size) > Scratch::kBatch + Scratch::kBatchSlack) {
        fail(Reason::internal, "an HTTP/2 frame is larger than the batch");
        break;
      }
      std::memcpy(worker_.scratch().batch.get() + staged_, frame, static_cast<size_t>(size));
      staged_ += static_cast<size_t>(size);
      continue;
    }
    if (batchFull() || !nextTurn()) break;
  }
  endTurn();
  return staged_;
}

// nghttp2 asks for a stream's bytes only while its data is not deferred: exactly the flow whose turn it is.
bool Tunnel::nextTurn() {
  endTurn();
  Flow* flow = fresh_.popFront();
  if (flow == nullptr) flow = bulk_.popFront();
  if (flow == nullptr) return false;
  turn_ = flow;
  turnSeen_ = false;
  // Alone it may have the whole batch.
  granted_ = quota_ = fresh_.empty() && bulk_.empty() ? Scratch::kBatch : kQuantum;
  nghttp2_session_resume_data(session_.get(), flow->stream());
  return true;
}

void Tunnel::endTurn() {
  Flow* flow = turn_;
  turn_ = nullptr;
  // Not asked: a window is closed. nghttp2 asks again when it opens.
  if (flow == nullptr || !turnSeen_) return;
  flow->bulk = granted_ - quota_ >= kBulk;
  wantSend(*flow);
}

void Tunnel::wantSend(Flow& flow) {
  if (&flow == turn_ || flow.inSendQueue.linked() || !flow.hasInput()) return;
  (flow.bulk ? bulk_ : fresh_).pushBack(flow.inSendQueue);
  worker_.soon(*this);
}

ssize_t Tunnel::readFlow(Flow& flow, size_t most, uint32_t& flags) {
  if (&flow != turn_) {
    wantSend(flow);
    return NGHTTP2_ERR_DEFERRED;
  }
  turnSeen_ = true;
  if (quota_ == 0 || batchFull()) return NGHTTP2_ERR_DEFERRED;
  const size_t room = std::min({most, quota_, Scratch::kBatch - staged_ - kFrameHeader});
  bool end = false;
  const size_t got = flow.produce({worker_.scratch().batch.get() + staged_ + kFrameHeader, room}, end);
  if (got == 0 && !end) return NGHTTP2_ERR_DEFERRED;
  quota_ -= got;
  flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  if (end) flags |= NGHTTP2_DATA_FLAG_EOF;
  return static_cast<ssize_t>(got);
}

bool Tunnel::flushOutput() {
  ByteQueue& output = tls_.output();
  std::array<iovec, 16> parts{};
  while (!output.empty()) {
    if (!writable_) return false;
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = output.front(parts);
    const ssize_t sent = sendmsg(fd_.get(), &message, MSG_NOSIGNAL);
    if (sent < 0) {
      writable_ = false;
      // A broken connection is reported by the read side, which first takes what the peer said last, an alert perhaps.
      if (errno != EAGAIN) readable_ = true;
      return false;
    }
    output.consume(worker_.segments(), worker_.counters().outputBytes, static_cast<size_t>(sent));
  }
  return true;
}

}  // namespace warren::engine
