// What TypeScript asks of a worker, as tasks on its thread.
#include <algorithm>

#include "engine/core/engine.h"
#include "engine/core/worker.h"

namespace warren::engine {

template <typename Command>
void Worker::withFlow(uint64_t id, Command command) {
  FlowTable& home = engine_.worker(Engine::workerOf(id)).flowTable();
  Flow* flow = nullptr;
  {
    const std::lock_guard lock(home.mutex);
    const auto entry = home.flows.find(id);
    if (entry == home.flows.end()) return;
    flow = entry->second.get();
    if (flow->view.worker != index_) {
      // It moved on. Posted under the lock, so that this arrives after the flow itself.
      engine_.worker(flow->view.worker).post(Task([id, command](Worker& at) { at.withFlow(id, command); }));
      return;
    }
  }
  command(*this, *flow);
}

void Worker::movedHere(uint64_t flow) {
  // Where it was it is no longer counted.
  counters_.flowsOpen.add(1);
  // By id: its pod may have ended here, and the flow with it, while this was on its way.
  withFlow(flow, [](Worker&, Flow& found) { found.moved(); });
}

void Worker::decide(uint64_t flow, const std::shared_ptr<const Decision>& decision) {
  withFlow(flow, [decision](Worker&, Flow& found) { found.decide(decision); });
}

void Worker::closeFlow(uint64_t flow, Reason reason) {
  withFlow(flow, [reason](Worker&, Flow& found) { found.finish(reason); });
}

void Worker::leaveFlow(uint64_t flow, Reason reason, bool finished) {
  withFlow(flow, [reason, finished](Worker&, Flow& found) { found.leave(reason, finished); });
}

void Worker::seated(const std::shared_ptr<Group>& group, uint64_t flow, uint64_t tunnel) {
  bool sat = false;
  FlowTable& home = engine_.worker(Engine::workerOf(flow)).flowTable();
  Flow* found = nullptr;
  {
    const std::lock_guard lock(home.mutex);
    const auto entry = home.flows.find(flow);
    if (entry != home.flows.end() && entry->second->view.worker == index_) found = entry->second.get();
  }
  if (found != nullptr && found->waitsFor(*group)) {
    sat = true;
    found->takeSeat(tunnel);
  }
  if (!sat) engine_.leaveSeat(group, tunnel);
}

void Worker::chooseAgain(const std::shared_ptr<Group>& group, uint64_t flow) {
  withFlow(flow, [group](Worker&, Flow& found) {
    if (found.waitsFor(*group)) found.chooseAgain();
  });
}

void Worker::closeTunnel(uint64_t tunnel, Reason reason) {
  Tunnel* found = nullptr;
  {
    const std::lock_guard lock(tunnelTable_.mutex);
    const auto entry = tunnelTable_.tunnels.find(tunnel);
    if (entry != tunnelTable_.tunnels.end()) found = entry->second.get();
  }
  if (found != nullptr) found->close(reason);
}

std::vector<Flow*> Worker::ownFlows(const Pod* pod) {
  std::vector<Flow*> own;
  for (unsigned i = 0; i < engine_.workers(); i++) {
    FlowTable& table = engine_.worker(i).flowTable();
    const std::lock_guard lock(table.mutex);
    for (const auto& [id, flow] : table.flows) {
      if (flow->view.worker == index_ && (pod == nullptr || flow->pod().get() == pod)) own.push_back(flow.get());
    }
  }
  return own;
}

std::vector<Tunnel*> Worker::ownTunnels() {
  std::vector<Tunnel*> own;
  const std::lock_guard lock(tunnelTable_.mutex);
  for (const auto& [id, tunnel] : tunnelTable_.tunnels) own.push_back(tunnel.get());
  return own;
}

void Worker::credentialChanged(uint64_t credential) {
  for (Tunnel* tunnel : ownTunnels()) {
    const auto own = tunnel->pod().credential();
    if (!tunnel->closed() && own != nullptr && own->handle() == credential) tunnel->credentialChanged();
  }
}

void Worker::renewTunnels(const Pod& pod) {
  for (Tunnel* tunnel : ownTunnels()) {
    if (&tunnel->pod() == &pod) tunnel->renew();
  }
}

void Worker::groupReleased(uint64_t group) {
  for (Tunnel* tunnel : ownTunnels()) {
    if (tunnel->outbound() && tunnel->group()->handle == group) tunnel->retireIfIdle();
  }
}

void Worker::closePod(const std::shared_ptr<Pod>& pod, int64_t graceMs, Reason reason) {
  acceptors_.removePod(*pod);
  if (graceMs <= 0) {
    cutPod(*pod, reason);
  } else {
    for (Tunnel* tunnel : ownTunnels()) {
      if (&tunnel->pod() == pod.get()) tunnel->drain();
    }
    std::erase_if(graces_, [](const std::unique_ptr<Grace>& grace) { return !grace->timer.armed(); });
    graces_.push_back(std::make_unique<Grace>(*this, pod, reason));
    timers_.arm(graces_.back()->timer, now_ + graceMs);
  }
  // The guard that was taken for this worker before the command was posted.
  engine_.residentLeft(*pod, *this);
}

void Worker::cutPod(const Pod& pod, Reason reason) {
  pod.cut.store(reason, std::memory_order_release);
  for (Flow* flow : ownFlows(&pod)) flow->finish(reason);
  for (Tunnel* tunnel : ownTunnels()) {
    if (&tunnel->pod() == &pod) tunnel->close(reason);
  }
}

void Worker::drain() {
  acceptors_.removeAll();
  for (Tunnel* tunnel : ownTunnels()) tunnel->drain();
}

void Worker::finishAll(Reason reason) {
  acceptors_.removeAll();
  for (Flow* flow : ownFlows()) flow->finish(reason);
  for (Tunnel* tunnel : ownTunnels()) tunnel->close(reason);
  graces_.clear();
  buriedFlows_.clear();
  buriedTunnels_.clear();
  lingering_.clear();
  events_.publish();
  acceptors_.giveUpReserve();
  epoll_.reset();
  sockets_.close();
  bell_.close();
}

}  // namespace warren::engine
