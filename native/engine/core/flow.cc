#include "engine/core/flow.h"

#include <malloc.h>
#include <sys/epoll.h>

#include <cstring>

#include "engine/base/clock.h"
#include "engine/core/engine.h"
#include "engine/core/worker.h"
#include "engine/net/error_text.h"

namespace warren::engine {

namespace {
constexpr uint32_t kWatched = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
// For the last bytes of an answer to a slow source.
constexpr int64_t kLeaveTimeout = 5000;
}  // namespace

void FlowSocket::onEvents(uint32_t events) {
  flow.onSocket(*this, events);
}

Flow::Flow(Worker& home, Birth birth)
    : worker_(&home),
      home_(home),
      birth_(std::move(birth)),
      sockets_{FlowSocket{*this, Side::source}, FlowSocket{*this, Side::destination}},
      timer_(this, [](void* self) { static_cast<Flow*>(self)->onTimer(); }),
      arrivedMicros_(monotonicMicros()),
      arrivedAt_(wallMillis()) {
  view.worker = home.index();
}

Flow::~Flow() {
  dropHeld();
}

void Flow::dropHeld() {
  birth_.pod->buffered.fetch_sub(static_cast<int64_t>(held()), std::memory_order_relaxed);
  for (Half& half : halves_) half.queue.clear(worker_->segments(), worker_->counters().bufferedBytes);
}

std::unique_lock<std::mutex> Flow::lockView() const {
  return std::unique_lock(home_.flowTable().mutex);
}

FlowFacts Flow::facts() const {
  FlowFacts facts{birth_.role, birth_.source, birth_.destination, {}, {}};
  if (view.peer != nullptr && birth_.role == Role::inboundHbone) facts.peer = *view.peer;
  if (authority_ != nullptr) facts.authority = *authority_;
  return facts;
}

FlowRecord Flow::record() const {
  FlowRecord record;
  record.flow = birth_.id;
  record.pod = birth_.pod->handle;
  record.tunnel = view.tunnel;
  record.role = birth_.role;
  record.label = view.label;
  record.bytesSent = bytes_[0].load(std::memory_order_relaxed);
  record.bytesReceived = bytes_[1].load(std::memory_order_relaxed);
  record.arrivedAt = arrivedAt_;
  record.source = birth_.source;
  record.destination = birth_.destination;
  record.target = view.target;
  if (view.peer != nullptr) record.peer = *view.peer;
  if (birth_.destination.none() && authority_ != nullptr) {
    record.host = std::string_view(*authority_).substr(0, authority_->rfind(':'));
  }
  return record;
}

void Flow::adoptSource(Fd fd) {
  FlowSocket& source = socket(Side::source);
  source.fd = std::move(fd);
  source.writable = true;
  watch(source);
}

void Flow::adoptStream(Tunnel& tunnel, int32_t stream, std::string authority, const std::string& traceparent) {
  streamSide_ = Side::source;
  tunnel_ = &tunnel;
  stream_ = stream;
  if (!traceparent.empty() && worker_->engine().options().traces.carried) {
    traceparent_ = std::make_unique<const std::string>(traceparent);
  }
  const auto lock = lockView();
  // Listings show its host.
  authority_ = std::make_unique<const std::string>(std::move(authority));
  view.tunnel = tunnel.id();
  view.peer = tunnel.peer();
}

void Flow::watch(FlowSocket& socket) {
  socket.watched = worker_->watch(socket, socket.fd.get(), kWatched);
  if (!socket.watched) finish(Reason::internal, errorText(errno));
}

void Flow::arm(int64_t milliseconds) {
  deadline_ = worker_->now() + milliseconds;
  worker_->timers().arm(timer_, deadline_);
}

void Flow::arrive(const ConnectArrivedRecord* request) {
  if (state_ != State::deciding) return;
  Engine& engine = worker_->engine();
  // A CONNECT that was on its way when the drain began is served: the real GOAWAY has not gone out yet.
  if (engine.draining() && birth_.role != Role::inboundHbone) return refuse(Reason::draining);
  if (birth_.pod->closing.load(std::memory_order_relaxed)) return refuse(Reason::podRemoved);
  if (engine.overMemory() || engine.overMemory(*birth_.pod)) {
    worker_->counters().shedTotal.add(1);
    return refuse(Reason::limitMemory);
  }
  std::shared_ptr<const Decision> remembered;
  birth_.pod->decisions.use(facts(), [&](const std::shared_ptr<const Decision>& found) {
    remembered = found;
    const auto lock = lockView();
    view.label = found->label;
  });
  if (remembered != nullptr) {
    worker_->counters().rememberedHitsTotal.add(1);
    return act(remembered);
  }
  arm(engine.options().timeouts.decision);
  if (request != nullptr) {
    writeRecord(worker_->records(), *request);
  } else {
    writeRecord(worker_->records(),
                FlowArrivedRecord{birth_.id, birth_.pod->handle, birth_.role, birth_.source, birth_.destination});
  }
}

void Flow::decide(const std::shared_ptr<const Decision>& decision) {
  if (state_ != State::deciding) return;
  worker_->counters().decisionsTotal.add(1);
  if (decision->remember) birth_.pod->decisions.remember(facts(), decision);
  act(decision);
}

void Flow::act(const std::shared_ptr<const Decision>& decision) {
  switch (decision->kind) {
    case DecisionKind::refuse:
      return refuse(decision->reason);
    case DecisionKind::carry:
      // A CONNECT is for an application of this pod; there is nobody to carry it on to.
      if (birth_.role == Role::inboundHbone) return refuse(Reason::internal, "a CONNECT cannot be carried on");
      break;
    case DecisionKind::dial:
    case DecisionKind::handOver:
      break;
  }
  state_ = State::opening;
  opening_ = std::make_unique<Opening>();
  opening_->decision = decision;
  if (decision->kind == DecisionKind::handOver) return handOver();
  // Carried flows go where their tunnel is; dialled ones go where there is least to do.
  if (decision->kind == DecisionKind::dial && birth_.role != Role::inboundHbone) {
    Worker& lightest = worker_->engine().lighter(*worker_);
    if (&lightest != worker_) return moveTo(lightest);
  }
  openNext();
}

void Flow::refuse(Reason reason, const std::string& detail) {
  finish(reason, detail);
}

void Flow::onTimer() {
  if (worker_->now() < deadline_) return worker_->timers().arm(timer_, deadline_);
  switch (state_) {
    case State::deciding:
      return refuse(Reason::internal, "no decision in time");
    case State::opening:
      return openingTimedOut();
    case State::relaying: {
      if (leaving_) return finish(leavingReason_);
      const Timeouts& timeouts = worker_->engine().options().timeouts;
      const int64_t silent = worker_->now() - lastActivity_;
      const bool halfClosed = halves_[0].endIn || halves_[1].endIn;
      if (halfClosed && timeouts.halfClosed > 0 && silent >= timeouts.halfClosed) {
        return finish(Reason::halfClosedTimeout);
      }
      if (timeouts.idle > 0 && silent >= timeouts.idle) return finish(Reason::idleTimeout);
      const int64_t limit = halfClosed && timeouts.halfClosed > 0 ? timeouts.halfClosed : timeouts.idle;
      if (limit > 0) arm(limit - silent);
      return;
    }
    case State::closed:
      return;
  }
}

void Flow::closeSocket(FlowSocket& socket, bool reset) {
  if (!socket.fd.valid()) return;
  if (socket.watched) worker_->unwatch(socket, socket.fd.get());
  socket.watched = false;
  if (reset) resetOnClose(socket.fd.get());
  socket.fd.reset();
}

void Flow::finish(Reason reason, const std::string& detail) {
  if (state_ == State::closed) return;
  state_ = State::closed;
  timer_.cancel();
  if (opening_ != nullptr && opening_->group != nullptr && tunnel_ == nullptr && opening_->seat != 0) {
    worker_->engine().leaveSeat(opening_->group, opening_->seat);
  }
  if (tunnel_ != nullptr) {
    const bool answeredInFull = leaving_ && halves_[at(Side::destination)].endOut;
    tunnel_->detach(*this, answeredInFull ? Reason::ok : reason, answered_);
  }
  tunnel_ = nullptr;
  // After a complete answer the source is not reset, or it might lose the answer (RFC 9112 §9.6).
  const bool answeredInFull = leaving_ && halves_[at(Side::destination)].endOut;
  const bool abrupt = reason != Reason::ok && !answeredInFull;
  FlowSocket& source = socket(Side::source);
  if (answeredInFull && source.fd.valid()) {
    worker_->unwatch(source, source.fd.get());
    worker_->linger(std::move(source.fd));
  }
  closeSocket(source, abrupt);
  if (handedOver_ && abrupt && !leaving_ && socket(Side::destination).fd.valid()) {
    // TypeScript closes its end when it hears of the flow's end: until then it must not read a clean one.
    FlowSocket& handed = socket(Side::destination);
    worker_->unwatch(handed, handed.fd.get());
    worker_->engine().keepUntilHeard(birth_.id, std::move(handed.fd));
  } else {
    closeSocket(socket(Side::destination), abrupt);
  }
  dropHeld();
  emitClosed(reason, detail);
  worker_->bury(*this);
}

void Flow::leave(Reason reason, bool finished) {
  if (state_ == State::closed) return;
  if (!handedOver_ || !finished || state_ != State::relaying) return finish(reason);
  leaving_ = true;
  leavingReason_ = reason;
  arm(kLeaveTimeout);
  pump(Side::destination);
}

void Flow::emitClosed(Reason reason, std::string_view detail) {
  FlowRecord closed;
  {
    // TypeScript may be labelling it this moment.
    const auto lock = lockView();
    closed = record();
  }
  closed.reason = reason;
  closed.detail = detail;
  if (traceparent_ != nullptr) closed.traceparent = *traceparent_;
  closed.connectedMs = connectedMs_;
  closed.durationMs = static_cast<double>(monotonicMicros() - arrivedMicros_) / 1000.0;
  writeRecord(worker_->records(), RecordKind::flowClosed, closed);
}

void Flow::onSocket(FlowSocket& socket, uint32_t events) {
  if (state_ == State::closed) return;
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) socket.readable = true;
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) socket.ended = true;
  if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) socket.writable = true;
  if (socket.connecting) {
    if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) dialed();
    return;
  }
  if ((events & EPOLLERR) != 0) {
    const int error = socketError(socket.fd.get());
    if (error != 0) return socketReset(socket.side, error);
  }
  if (state_ != State::relaying) return;
  if (socket.readable) pump(socket.side);
  if (state_ == State::relaying && socket.writable) pump(opposite(socket.side));
}

void Flow::run() {
  if (pendingError_ != 0) return socketReset(pendingSide_, pendingError_);
  if (state_ != State::relaying) return;
  pump(Side::source);
  if (state_ == State::relaying) pump(Side::destination);
}

}  // namespace warren::engine
