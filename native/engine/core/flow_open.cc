// How a decided flow gets its other end: a stream of a tunnel, a dialled socket, or a socket pair to TypeScript.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/base/clock.h"
#include "engine/core/engine.h"
#include "engine/core/flow.h"
#include "engine/core/worker.h"
#include "engine/http2/authority.h"
#include "engine/net/error_text.h"

namespace warren::engine {

namespace {
constexpr int kServerError = 500;
}  // namespace

// By weight among the targets not tried yet; of two draws the less loaded one.
bool Flow::pickTarget(uint16_t& index) {
  const Decision& decision = *opening_->decision;
  const bool carry = decision.kind == DecisionKind::carry;
  const size_t count = carry ? decision.carry.size() : decision.dial.size();
  const std::vector<uint16_t>& tried = opening_->tried;
  const auto weight = [&](size_t i) {
    if (std::find(tried.begin(), tried.end(), i) != tried.end()) return 0.0;
    // A target of weight 0 is still a last resort.
    return std::max(carry ? decision.carry[i].weight : decision.dial[i].weight, 1e-9);
  };
  if (tried.size() >= count) return false;
  double total = 0;
  for (size_t i = 0; i < count; i++) total += weight(i);
  const auto draw = [&]() {
    double left = worker_->random().real(total);
    size_t chosen = count;
    for (size_t i = 0; i < count; i++) {
      const double own = weight(i);
      if (own == 0) continue;
      chosen = i;
      left -= own;
      if (left < 0) break;
    }
    return static_cast<uint16_t>(chosen);
  };
  index = draw();
  if (carry && count - tried.size() > 1) {
    const uint16_t other = draw();
    const auto load = [&](uint16_t i) {
      const CarryTarget& target = decision.carry[i];
      return static_cast<double>(target.group->load() + (target.group->inBackoff(worker_->now()) ? 1'000'000 : 0)) /
             weight(i);
    };
    if (other != index && load(other) < load(index)) index = other;
  }
  return true;
}

void Flow::openNext() {
  uint16_t index = 0;
  if (!pickTarget(index)) {
    if (!opening_->tried.empty()) return finish(opening_->reason, opening_->detail);
    const bool carry = opening_->decision->kind == DecisionKind::carry;
    return finish(carry ? Reason::podRemoved : Reason::noEndpoint, carry ? "no group to carry it over" : "");
  }
  if (!opening_->tried.empty()) worker_->counters().retriesTotal.add(1);
  if (opening_->decision->kind == DecisionKind::carry) {
    carryTo(index);
  } else {
    dialTo(index);
  }
}

void Flow::carryTo(uint16_t index) {
  opening_->current = index;
  const CarryTarget& target = opening_->decision->carry[index];
  opening_->group = target.group;
  const Waiter self{worker_->index(), birth_.id};
  Group::Choice choice = target.group->choose(self, worker_->now(), worker_->engine().tunnelIds());
  switch (choice.found) {
    case Group::Found::failed:
      return openFailed(choice.reason, std::move(choice.detail), false);
    case Group::Found::released:
      return openFailed(Reason::podRemoved, "the group was released", false);
    case Group::Found::wait:
      // Every tunnel that may exist is full: as good as a peer that does not answer.
      return arm(worker_->engine().options().timeouts.connectAnswer);
    case Group::Found::seat:
      return takeSeat(choice.tunnel);
  }
}

void Flow::takeSeat(uint64_t tunnel) {
  opening_->seat = tunnel;
  // The tunnel's own set-up timeouts come first; this one is for what they do not see.
  const Timeouts& timeouts = worker_->engine().options().timeouts;
  arm(timeouts.credential + timeouts.connect + timeouts.tls + timeouts.http2 + timeouts.connectAnswer);
  const unsigned where = Engine::workerOf(tunnel);
  if (where == worker_->index()) return sitDown();

  moveTo(worker_->engine().worker(where));
}

// Only before anything moved: a flow that waits is a socket and a decision.
void Flow::moveTo(Worker& to) {
  timer_.cancel();
  soon.unlink();
  FlowSocket& source = socket(Side::source);
  worker_->unwatch(source, source.fd.get());
  source.watched = false;
  worker_->counters().flowsOpen.add(-1);
  const auto lock = lockView();
  view.worker = to.index();
  worker_ = &to;
  to.post(Task([id = id()](Worker& at) { at.movedHere(id); }));
}

void Flow::moved() {
  // This worker may have ended the pod's flows while this one was on its way to it.
  const Reason cut = birth_.pod->cut.load(std::memory_order_acquire);
  if (cut != Reason::ok) return finish(cut);
  watch(socket(Side::source));
  if (state_ == State::closed) return;
  if (opening_->seat == 0) return openNext();
  worker_->timers().arm(timer_, deadline_);
  sitDown();
}

void Flow::sitDown() {
  Tunnel* found = worker_->tunnelOfSeat(opening_->group, opening_->seat);
  // From here on the tunnel holds the seat; without a tunnel there is none.
  opening_->seat = 0;
  if (found == nullptr) return carryTo(opening_->current);
  {
    const auto lock = lockView();
    view.target = opening_->group->peer;
  }
  found->join(*this);
}

std::string Flow::traceparent() {
  if (traceparent_ != nullptr) return *traceparent_;
  const Traces& traces = worker_->engine().options().traces;
  Random& random = worker_->random();
  const bool sampled = traces.carried && random.real(1) < traces.share;
  std::string text = formatTraceparent(random.next(), random.next(), random.next() | 1, sampled);
  if (traces.carried) traceparent_ = std::make_unique<const std::string>(text);
  return text;
}

void Flow::askedPeer() {
  arm(worker_->engine().options().timeouts.connectAnswer);
}

void Flow::chooseAgain() {
  if (state_ != State::opening) return;
  leaveTunnel(Reason::ok);
  carryTo(opening_->current);
}

void Flow::answered(int status, std::string_view reason) {
  if (state_ != State::opening) return;
  if (status >= 200 && status < 300) {
    {
      const auto lock = lockView();
      view.tunnel = tunnel_->id();
      view.peer = tunnel_->peer();
    }
    answered_ = true;
    return relay();
  }
  std::string detail = std::to_string(status);
  if (!reason.empty()) detail.append(" ").append(reason);
  opening_->reason = Reason::peerRefused;
  // Only the peer's own trouble may be better elsewhere; a refusal by policy or of a bad request stands.
  if (status >= kServerError) return openFailed(Reason::peerRefused, std::move(detail), false);
  finish(Reason::peerRefused, detail);
}

// With everything that was still to be said about the stream there.
void Flow::leaveTunnel(Reason reason) {
  if (tunnel_ != nullptr) tunnel_->detach(*this, reason, false);
  tunnel_ = nullptr;
  stream_ = 0;
  streamGone_ = streamEnd_ = false;
  worker_->untouch(*this);
}

void Flow::openFailed(Reason reason, std::string detail, bool samePeer) {
  if (state_ != State::opening) return;
  leaveTunnel(reason);
  opening_->reason = reason;
  opening_->detail = std::move(detail);
  if (samePeer && !opening_->again) {
    opening_->again = true;
    worker_->counters().retriesTotal.add(1);
    return carryTo(opening_->current);
  }
  opening_->tried.push_back(opening_->current);
  openNext();
}

void Flow::openingTimedOut() {
  const bool dialing = opening_->decision->kind == DecisionKind::dial;
  if (dialing) {
    closeSocket(socket(Side::destination), true);
    socket(Side::destination).connecting = false;
    opening_->tried.push_back(opening_->current);
    opening_->reason = Reason::connectTimeout;
    opening_->detail = "no answer from " + opening_->decision->dial[opening_->current].destination.text();
    return openNext();
  }
  if (tunnel_ == nullptr) return openFailed(Reason::limitFlows, "every tunnel to the peer is full", false);
  openFailed(
      Reason::connectUnanswered,
      "no answer to CONNECT within " + std::to_string(worker_->engine().options().timeouts.connectAnswer) + " ms",
      false);
}

void Flow::dialTo(uint16_t index) {
  opening_->current = index;
  const Decision& decision = *opening_->decision;
  const Address& to = decision.dial[index].destination;
  const auto failed = [&](Reason reason, const std::string& why) {
    opening_->reason = reason;
    opening_->detail = why + " " + to.text();
    opening_->tried.push_back(index);
    openNext();
  };
  if (decision.from == nullptr) return finish(Reason::podRemoved, "the netns to dial from is gone");
  SocketSpec spec;
  spec.family = to.family;
  spec.mark = decision.from->mark(decision.deliver ? Purpose::deliver : Purpose::leave);
  if (decision.source.family == to.family && !decision.source.sameHost(to)) spec.source = decision.source;
  FlowSocket& out = socket(Side::destination);
  out.fd = worker_->sockets().open(decision.from->netns, spec);
  if (!out.fd.valid()) {
    const bool exhausted = errno == EMFILE || errno == ENFILE;
    return failed(exhausted ? Reason::outOfDescriptors : Reason::connectFailed, errorText(errno));
  }
  if (worker_->engine().crowdedOut(*birth_.pod, out.fd.get())) {
    out.fd.reset();
    return failed(Reason::outOfDescriptors, Engine::kCrowdedOut);
  }
  tuneSocket(out.fd.get());
  {
    const auto lock = lockView();
    view.target = to;
  }
  sockaddr_storage address{};
  const socklen_t length = to.toSockaddr(address);
  const int result = connect(out.fd.get(), reinterpret_cast<const sockaddr*>(&address), length);
  if (result != 0 && errno != EINPROGRESS) {
    const int error = errno;
    out.fd.reset();
    return failed(Reason::connectFailed, errorText(error));
  }
  out.readable = out.writable = out.ended = false;
  out.connecting = true;
  arm(worker_->engine().options().timeouts.connect);
  watch(out);
}

void Flow::dialed() {
  FlowSocket& out = socket(Side::destination);
  out.connecting = false;
  const int error = socketError(out.fd.get());
  if (error == 0) {
    if (birth_.role == Role::inboundHbone) {
      tunnel_->answer(*this, Reason::ok, opening_->decision->baggage);
      answered_ = true;
    }
    return relay();
  }
  closeSocket(out, true);
  opening_->tried.push_back(opening_->current);
  opening_->reason = error == ETIMEDOUT ? Reason::connectTimeout : Reason::connectFailed;
  opening_->detail = errorText(error) + " " + opening_->decision->dial[opening_->current].destination.text();
  openNext();
}

void Flow::handOver() {
  int pair[2] = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0) {
    return finish(Reason::outOfDescriptors, errorText(errno));
  }
  FlowSocket& ours = socket(Side::destination);
  ours.fd.reset(pair[0]);
  if (worker_->engine().crowdedOut(*birth_.pod, pair[0])) {
    Fd(pair[1]).reset();
    return finish(Reason::outOfDescriptors, Engine::kCrowdedOut);
  }
  handedOver_ = true;
  if (birth_.role == Role::inboundHbone) {
    tunnel_->answer(*this, Reason::ok, opening_->decision->baggage);
    answered_ = true;
  }
  // The descriptor is TypeScript's from the moment that the record is read.
  writeHandedOver(worker_->records(), birth_.id, pair[1]);
  watch(ours);
  if (state_ != State::closed) relay();
}

void Flow::relay() {
  state_ = State::relaying;
  connectedMs_ = static_cast<float>(static_cast<double>(monotonicMicros() - arrivedMicros_) / 1000.0);
  opening_.reset();
  timer_.cancel();
  lastActivity_ = worker_->now();
  const int64_t idle = worker_->engine().options().timeouts.idle;
  if (idle > 0) arm(idle);
  worker_->soon(*this);
}

}  // namespace warren::engine
