#include "engine/core/tunnel.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "engine/base/clock.h"
#include "engine/core/engine.h"
#include "engine/core/worker.h"
#include "engine/net/error_text.h"

namespace warren::engine {

namespace {
constexpr uint32_t kWatched = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
constexpr int64_t kGoAwayGrace = 100;
}  // namespace

Tunnel::Tunnel(Worker& worker, uint64_t id, std::shared_ptr<Group> group)
    : worker_(worker),
      id_(id),
      group_(std::move(group)),
      pod_(group_->pod),
      peerAddress_(group_->peer),
      tls_(worker.segments(), worker.counters()),
      timer_(this, [](void* self) { static_cast<Tunnel*>(self)->onTimer(); }),
      idleTimer_(this, [](void* self) { static_cast<Tunnel*>(self)->onIdle(); }),
      startedMicros_(monotonicMicros()),
      capacity_(static_cast<uint32_t>(worker.engine().options().limits.flowsPerTunnel)) {
  pod_->outboundTunnels.fetch_add(1, std::memory_order_relaxed);
  view.openedAt = wallMillis();
}

Tunnel::Tunnel(Worker& worker, uint64_t id, std::shared_ptr<Pod> pod, Fd fd, const Address& peer)
    : worker_(worker),
      id_(id),
      pod_(std::move(pod)),
      peerAddress_(peer),
      fd_(std::move(fd)),
      writable_(true),
      tls_(worker.segments(), worker.counters()),
      timer_(this, [](void* self) { static_cast<Tunnel*>(self)->onTimer(); }),
      idleTimer_(this, [](void* self) { static_cast<Tunnel*>(self)->onIdle(); }),
      startedMicros_(monotonicMicros()) {
  view.openedAt = wallMillis();
}

Tunnel::~Tunnel() = default;

TunnelRecord Tunnel::record() const {
  TunnelRecord record;
  record.tunnel = id_;
  record.pod = pod_->handle;
  record.group = group_ == nullptr ? 0 : group_->handle;
  record.outbound = outbound();
  record.setupMs = view.setupMs;
  record.openedAt = view.openedAt;
  record.flows = view.flows;
  record.peerAddress = peerAddress_;
  record.peer = view.peer;
  record.version = view.version;
  record.keyExchange = view.keyExchange;
  record.cipher = view.cipher;
  return record;
}

void Tunnel::arm(int64_t milliseconds) {
  worker_.timers().arm(timer_, worker_.now() + milliseconds);
}

bool Tunnel::crowded(int64_t part) const {
  return pod_->outboundTunnels.load(std::memory_order_relaxed) >
         worker_.engine().options().limits.outboundTunnelsPerPod / part;
}

void Tunnel::open() {
  if (outbound() && state_ == State::idle && crowded(1)) {
    // That says nothing about the peer: the pause before the next attempt does not grow.
    group_->forgetFailure();
    return setupFailed(Reason::limitFlows, "the pod has as many tunnels as it may open");
  }
  // Without a certificate the peer is not bothered yet.
  if (pod_->credential()->current() == nullptr) {
    state_ = State::waiting;
    arm(worker_.engine().options().timeouts.credential);
    return;
  }
  if (outbound()) {
    connect();
  } else {
    connected();
  }
}

void Tunnel::credentialChanged() {
  if (state_ == State::waiting) {
    state_ = State::idle;
    timer_.cancel();
    return open();
  }
  const auto newer = pod_->credential()->current();
  std::string detail;
  if (newer != nullptr && tls_.begun() && newer != tls_.credential() && tls_.refusedBy(*newer, detail)) {
    close(Reason::certificateRevoked, detail);
  }
}

void Tunnel::renew() {
  switch (state_) {
    case State::ready:
      if (outbound()) drain();
      return;
    case State::waiting:
      return credentialChanged();
    case State::connecting:
    case State::handshaking:
    case State::greeting:
      if (outbound()) close(Reason::noCertificate, "the pod got another credential");
      return;
    case State::idle:
    case State::draining:
    case State::closed:
      return;
  }
}

void Tunnel::connect() {
  startedMicros_ = monotonicMicros();
  const SocketSpec spec{peerAddress_.family, pod_->mark(Purpose::leave), {}};
  fd_ = worker_.sockets().open(pod_->netns, spec);
  if (!fd_.valid()) {
    const bool exhausted = errno == EMFILE || errno == ENFILE;
    return setupFailed(exhausted ? Reason::outOfDescriptors : Reason::connectFailed, errorText(errno));
  }
  if (worker_.engine().crowdedOut(*pod_, fd_.get())) {
    return setupFailed(Reason::outOfDescriptors, Engine::kCrowdedOut);
  }
  sockaddr_storage address{};
  const socklen_t length = peerAddress_.toSockaddr(address);
  if (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0 && errno != EINPROGRESS) {
    return setupFailed(Reason::connectFailed, errorText(errno) + " " + peerAddress_.text());
  }
  state_ = State::connecting;
  watched_ = worker_.watch(*this, fd_.get(), kWatched);
  if (!watched_) return setupFailed(Reason::internal, errorText(errno));
  arm(worker_.engine().options().timeouts.connect);
}

void Tunnel::connected() {
  tuneTunnelSocket(fd_.get());
  if (!watched_) watched_ = worker_.watch(*this, fd_.get(), kWatched);
  if (!watched_) return setupFailed(Reason::internal, errorText(errno));
  startTls();
}

void Tunnel::startTls() {
  const auto credential = pod_->credential()->current();
  auto session = outbound() ? group_->session(credential)
                            : std::unique_ptr<SSL_SESSION, decltype(&SSL_SESSION_free)>(nullptr, SSL_SESSION_free);
  const bool begun = credential != nullptr &&
                     tls_.begin(worker_.engine().transport(), credential, outbound() ? TlsEnd::client : TlsEnd::server,
                                outbound() ? &group_->expected : nullptr, session.get());
  if (!begun) return setupFailed(Reason::internal, "no TLS session");
  state_ = State::handshaking;
  worker_.counters().handshakesTotal.add(1);
  arm(worker_.engine().options().timeouts.tls);
  handshake();
}

void Tunnel::handshake() {
  const TlsStatus status = tls_.handshake();
  if (!flushOutput() && state_ == State::closed) return;
  if (status == TlsStatus::failed) return setupFailed(tls_.failure(), tls_.detail());
  if (status == TlsStatus::done) greet();
}

void Tunnel::greet() {
  // The handshake was judged under the credential that it began with; revocations since then count too.
  const auto newest = pod_->credential()->current();
  std::string detail;
  if (newest != nullptr && newest != tls_.credential() && tls_.refusedBy(*newest, detail)) {
    return setupFailed(Reason::certificateRevoked, detail);
  }
  peer_ = std::make_shared<const std::string>(tls_.peer());
  {
    const std::lock_guard lock(worker_.tunnelTable().mutex);
    view.peer = *peer_;
    view.version = tls_.version();
    view.keyExchange = tls_.group();
    view.cipher = tls_.cipher();
  }
  state_ = State::greeting;
  arm(worker_.engine().options().timeouts.http2);
  session_ = outbound() ? worker_.http2().client(this) : worker_.http2().server(this);
  if (session_ == nullptr) return setupFailed(Reason::internal, "no HTTP/2 session");
  const Limits& limits = worker_.engine().options().limits;
  std::vector<nghttp2_settings_entry> settings = {
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, firstWindow()},
      {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, static_cast<uint32_t>(limits.frameSize)},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<uint32_t>(limits.headerListSize)},
  };
  if (outbound()) {
    settings.push_back({NGHTTP2_SETTINGS_ENABLE_PUSH, 0});
  } else {
    settings.push_back(
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, static_cast<uint32_t>(limits.streamsPerInboundTunnel)});
  }
  nghttp2_submit_settings(session_.get(), NGHTTP2_FLAG_NONE, settings.data(), settings.size());
  nghttp2_session_set_local_window_size(session_.get(), NGHTTP2_FLAG_NONE, 0,
                                        static_cast<int32_t>(limits.connectionWindow));
  pump();
}

void Tunnel::becomeReady() {
  state_ = State::ready;
  timer_.cancel();
  const Timeouts& timeouts = worker_.engine().options().timeouts;
  if (timeouts.pingInterval > 0) arm(timeouts.pingInterval);
  {
    const std::lock_guard lock(worker_.tunnelTable().mutex);
    view.up = true;
    view.setupMs = static_cast<double>(monotonicMicros() - startedMicros_) / 1000.0;
    view.openedAt = wallMillis();
  }
  worker_.counters().tunnelsOpen.add(1);
  worker_.counters().tunnelsTotal.add(1);
  writeRecord(worker_.records(), RecordKind::tunnelUp, record());
  if (outbound()) group_->forgetFailure();
  retireIfIdle();
}

void Tunnel::onTimer() {
  switch (state_) {
    case State::waiting:
      return setupFailed(Reason::noCertificate, "no certificate in time");
    case State::connecting:
      return setupFailed(Reason::connectTimeout, "no answer from " + peerAddress_.text());
    case State::handshaking:
      return setupFailed(Reason::tlsTimeout, "no TLS handshake in time");
    case State::greeting:
      return setupFailed(Reason::h2Failed, "no HTTP/2 SETTINGS in time");
    case State::ready:
    case State::draining:
      if (pongPending_) return close(Reason::tunnelLost, "no answer to PING");
      pongPending_ = true;
      nghttp2_submit_ping(session_.get(), NGHTTP2_FLAG_NONE, nullptr);
      arm(worker_.engine().options().timeouts.pingTimeout);
      return worker_.soon(*this);
    case State::idle:
    case State::closed:
      return;
  }
}

void Tunnel::onPong() {
  if (state_ == State::draining && !outbound() && !goAwaySent_) {
    goAwaySent_ = true;
    nghttp2_submit_goaway(session_.get(), NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_.get()),
                          NGHTTP2_NO_ERROR, nullptr, 0);
    worker_.soon(*this);
  }
  if (!pongPending_) return;
  pongPending_ = false;
  arm(worker_.engine().options().timeouts.pingInterval);
}

// Without flows a tunnel is kept for a while; a released group's or a draining one is not.
void Tunnel::retireIfIdle() {
  if (state_ != State::ready && state_ != State::draining) return;
  if (streams_ != 0 || !flows_.empty()) {
    idleTimer_.cancel();
    return;
  }
  // Nor is one of a pod that has many: a pod that goes through all others must not hold a tunnel to each.
  const bool now = state_ == State::draining || (outbound() && (group_->released() || crowded(2)));
  // A client may have sent a CONNECT before it read our GOAWAY.
  if (now) return worker_.timers().arm(idleTimer_, worker_.now() + (outbound() ? 1 : kGoAwayGrace));
  if (!idleTimer_.armed()) {
    worker_.timers().arm(idleTimer_, worker_.now() + worker_.engine().options().timeouts.tunnelIdle);
  }
}

void Tunnel::onIdle() {
  if ((state_ != State::ready && state_ != State::draining) || streams_ != 0 || !flows_.empty()) return;
  // A seat may just have been given to a flow that is on its way here.
  if (state_ == State::ready && outbound() && !group_->removeIfEmpty(id_)) return;
  if (state_ == State::ready && !outbound()) return drain();
  close(Reason::ok);
}

void Tunnel::drain() {
  if (state_ == State::closed || state_ == State::draining) return;
  if (state_ != State::ready) {
    if (!outbound()) close(Reason::draining);
    return;
  }
  if (outbound()) {
    wake(group_->remove(id_));
  } else {
    // RFC 9113 §6.8: a first GOAWAY as a warning, the real one when requests in flight have had a round trip to arrive.
    nghttp2_submit_shutdown_notice(session_.get());
    nghttp2_submit_ping(session_.get(), NGHTTP2_FLAG_NONE, nullptr);
    worker_.soon(*this);
  }
  state_ = State::draining;
  retireIfIdle();
}

void Tunnel::onGoAway(int32_t) {
  // Streams above the last one are closed by nghttp2 as refused; the others go on.
  if (!outbound() || state_ != State::ready) return;
  wake(group_->remove(id_));
  state_ = State::draining;
  retireIfIdle();
}

void Tunnel::wake(const std::vector<Waiter>& waiters) {
  worker_.engine().wakeWaiters(group_, waiters);
}

void Tunnel::fail(Reason reason, std::string detail) {
  if (failReason_ != Reason::ok) return;
  failReason_ = reason;
  failDetail_ = std::move(detail);
}

void Tunnel::setupFailed(Reason reason, const std::string& detail) {
  if (state_ == State::handshaking || state_ == State::greeting) worker_.counters().handshakesFailedTotal.add(1);
  if (state_ == State::waiting && fd_.valid()) resetOnClose(fd_.get());
  if (outbound()) group_->failed(reason, detail, worker_.now());
  close(reason, detail);
}

void Tunnel::close(Reason reason, const std::string& detail) {
  if (state_ == State::closed) return;
  const bool wasUp = state_ == State::ready || state_ == State::draining;
  if (wasUp) goAway();
  state_ = State::closed;
  timer_.cancel();
  idleTimer_.cancel();
  std::vector<Waiter> waiters;
  if (outbound()) {
    waiters = group_->remove(id_);
    pod_->outboundTunnels.fetch_sub(1, std::memory_order_relaxed);
  }
  TunnelRecord down = record();
  if (wasUp) worker_.counters().tunnelsOpen.add(-1);
  down.reason = reason;
  down.detail = detail;
  writeRecord(worker_.records(), RecordKind::tunnelDown, down);
  abandonFlows(reason == Reason::ok ? Reason::tunnelLost : reason, detail, wasUp);
  if (outbound()) wake(waiters);
  if (fd_.valid()) {
    if (watched_) worker_.unwatch(*this, fd_.get());
    fd_.reset();
  }
  worker_.bury(*this);
}

void Tunnel::goAway() {
  if (session_ == nullptr || busy_) return;
  if (!goAwaySent_) nghttp2_session_terminate_session(session_.get(), NGHTTP2_NO_ERROR);
  busy_ = true;
  const size_t staged = fill();
  busy_ = false;
  if (staged > 0) tls_.write({worker_.scratch().batch.get(), staged});
  tls_.closeNotify();
  flushOutput();
}

void Tunnel::abandonFlows(Reason reason, const std::string& detail, bool wasUp) {
  while (Flow* flow = flows_.front()) {
    flow->inTunnel.unlink();
    flow->inSendQueue.unlink();
    flow->setTunnel(nullptr);
    // A pooled tunnel that was found dead says nothing about the peer: one more try there.
    if (outbound() && flow->opening()) {
      flow->openFailed(reason, detail, wasUp || reason == Reason::noCertificate);
    } else {
      flow->finish(reason, detail);
    }
  }
}

void Tunnel::onEvents(uint32_t events) {
  if (state_ == State::closed) return;
  if (state_ == State::connecting) {
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) return;
    const int error = socketError(fd_.get());
    if (error != 0) {
      return setupFailed(error == ETIMEDOUT ? Reason::connectTimeout : Reason::connectFailed,
                         errorText(error) + " " + peerAddress_.text());
    }
    writable_ = true;
    readable_ = (events & EPOLLIN) != 0;
    return connected();
  }
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) readable_ = true;
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) ended_ = true;
  if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) writable_ = true;
  if (state_ == State::waiting) {
    if (ended_) close(Reason::tlsFailed, "the peer hung up");
    return;
  }
  if (readable_) receive();
  if (state_ != State::closed && (events & EPOLLOUT) != 0) pump();
}

void Tunnel::run() {
  if (state_ == State::closed) return;
  if (readable_ && tls_.begun()) receive();
  if (state_ != State::closed) pump();
}

}  // namespace warren::engine
