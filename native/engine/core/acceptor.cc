#include "engine/core/acceptor.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "engine/base/clock.h"
#include "engine/core/engine.h"
#include "engine/core/worker.h"

namespace warren::engine {

namespace {
constexpr int kTurn = 32;
constexpr uint32_t kAccepting = EPOLLIN;
}  // namespace

void Acceptor::onEvents(uint32_t) {
  for (int i = 0; i < kTurn; i++) {
    sockaddr_storage from{};
    socklen_t length = sizeof from;
    Fd fd(accept4(fd_.get(), reinterpret_cast<sockaddr*>(&from), &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd.valid()) {
      accepted(std::move(fd), Address::from(from));
      continue;
    }
    if (errno == EMFILE || errno == ENFILE) return owner_.outOfDescriptors(*this);
    // Errors of a connection that died in the queue are not the listener's (accept(2)).
    if (errno == EAGAIN || errno == EINVAL || errno == EBADF) return;
  }
}

Role Acceptor::role() const {
  switch (role_) {
    case ListenerRole::outbound:
      return Role::outbound;
    case ListenerRole::inbound:
      return Role::inboundPlaintext;
    case ListenerRole::hbone:
      return Role::inboundHbone;
  }
  return Role::outbound;
}

void Acceptor::accepted(Fd fd, const Address& peer) {
  Worker& worker = owner_.worker();
  Engine& engine = worker.engine();
  if (role_ == ListenerRole::hbone) {
    const int64_t tunnels = pod_->inboundTunnels.fetch_add(1, std::memory_order_relaxed);
    if (tunnels >= engine.options().limits.inboundTunnelsPerPod || engine.crowdedOut(*pod_, fd.get())) {
      pod_->inboundTunnels.fetch_sub(1, std::memory_order_relaxed);
      worker.counters().shedTotal.add(1);
      return resetOnClose(fd.get());
    }
    Worker& lightest = engine.fewestTunnels(worker);
    if (&lightest == &worker) return worker.openInbound(pod_, std::move(fd), peer);
    return lightest.post(
        Task([pod = pod_, fd = std::move(fd), peer](Worker& at) mutable { at.openInbound(pod, std::move(fd), peer); }));
  }
  if (engine.crowdedOut(*pod_, fd.get())) return shed(Reason::outOfDescriptors, std::move(fd), peer);
  if (!engine.admit(*pod_)) return shed(Reason::limitFlows, std::move(fd), peer);
  const bool captured = role_ == ListenerRole::outbound;
  const auto destination = findOriginalDestination(pod_->originalDestination, fd.get(), peer, captured);
  Flow& flow = worker.addFlow({worker.nextId(), role(), pod_, peer, destination.value_or(Address{})});
  flow.adoptSource(std::move(fd));
  if (!destination) return flow.finish(Reason::originalDestinationLost);
  flow.arrive(nullptr);
}

// Refused before there is a flow, with a closing record that says why.
void Acceptor::shed(Reason reason, Fd fd, const Address& peer) {
  Worker& worker = owner_.worker();
  worker.counters().shedTotal.add(1);
  resetOnClose(fd.get());
  FlowRecord record;
  record.flow = worker.nextId();
  record.pod = pod_->handle;
  record.role = role();
  record.reason = reason;
  record.arrivedAt = wallMillis();
  record.durationMs = 0;
  record.source = peer;
  writeRecord(worker.records(), RecordKind::flowClosed, record);
}

Acceptors::Acceptors(Worker& worker)
    : worker_(worker),
      reserve_(open("/dev/null", O_RDONLY | O_CLOEXEC)),
      timer_(this, [](void* self) { static_cast<Acceptors*>(self)->resume(); }) {}

Acceptors::~Acceptors() = default;

bool Acceptors::add(std::shared_ptr<Pod> pod, ListenerRole role, Fd fd) {
  const int raw = fd.get();
  pod->residents.fetch_add(1, std::memory_order_relaxed);
  auto acceptor = std::make_unique<Acceptor>(*this, std::move(pod), role, std::move(fd));
  const bool watched = worker_.watch(*acceptor, raw, paused_ ? 0 : kAccepting);
  acceptors_.push_back(std::move(acceptor));
  return watched;
}

void Acceptors::removePod(const Pod& pod) {
  std::erase_if(acceptors_, [&](const std::unique_ptr<Acceptor>& acceptor) {
    if (&acceptor->pod() != &pod) return false;
    worker_.unwatch(*acceptor, acceptor->fd());
    worker_.engine().residentLeft(acceptor->pod(), worker_);
    return true;
  });
}

void Acceptors::removeAll() {
  timer_.cancel();
  for (const auto& acceptor : acceptors_) {
    worker_.unwatch(*acceptor, acceptor->fd());
    worker_.engine().residentLeft(acceptor->pod(), worker_);
  }
  acceptors_.clear();
}

void Acceptors::outOfDescriptors(const Acceptor& acceptor) {
  if (paused_) return;
  paused_ = true;
  worker_.counters().acceptPausesTotal.add(1);
  // With the reserve given up one connection can be taken, and reset instead of left hanging.
  reserve_.reset();
  Fd shed(accept4(acceptor.fd(), nullptr, nullptr, SOCK_CLOEXEC));
  if (shed.valid()) {
    worker_.counters().shedTotal.add(1);
    resetOnClose(shed.get());
    FlowRecord record;
    record.flow = worker_.nextId();
    record.pod = acceptor.pod().handle;
    record.role = acceptor.role();
    record.reason = Reason::outOfDescriptors;
    record.arrivedAt = wallMillis();
    record.durationMs = 0;
    writeRecord(worker_.records(), RecordKind::flowClosed, record);
  }
  shed.reset();
  reserve_.reset(open("/dev/null", O_RDONLY | O_CLOEXEC));
  for (const auto& each : acceptors_) worker_.rewatch(*each, each->fd(), 0);
  worker_.timers().arm(timer_, worker_.now() + kPause);
}

void Acceptors::resume() {
  paused_ = false;
  if (!reserve_.valid()) reserve_.reset(open("/dev/null", O_RDONLY | O_CLOEXEC));
  for (const auto& each : acceptors_) worker_.rewatch(*each, each->fd(), kAccepting);
}

}  // namespace warren::engine
