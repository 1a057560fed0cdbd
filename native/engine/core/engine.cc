#include "engine/core/engine.h"
#include "engine/net/error_text.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace warren::engine {

Engine::Engine(Options options, std::function<void()> wake) : options_(std::move(options)), onWake_(std::move(wake)) {
  const unsigned count = std::clamp(options_.workers, 1U, kMostWorkers);
  for (unsigned i = 0; i < count; i++) workers_.push_back(std::make_unique<Worker>(*this, i));
  for (const auto& worker : workers_) worker->start();
}

Engine::~Engine() {
  stop();
}

std::shared_ptr<Pod> Engine::findPod(uint64_t handle) const {
  const auto entry = pods_.find(handle);
  if (entry == pods_.end()) throw EngineError("no pod has the handle " + std::to_string(handle));
  return entry->second;
}

std::shared_ptr<Credential> Engine::findCredential(uint64_t handle) const {
  const auto entry = credentials_.find(handle);
  if (entry == credentials_.end()) throw EngineError("no credential has the handle " + std::to_string(handle));
  return entry->second;
}

void Engine::postAll(const std::function<Task()>& make) {
  for (const auto& worker : workers_) worker->post(make());
}

uint64_t Engine::addPod(const PodSpec& spec) {
  if (stopped_ || draining()) throw EngineError("the engine takes no more pods; it is being stopped");
  auto pod = std::make_shared<Pod>(++handles_, remembered_, options_.limits.flows);
  pod->uid = spec.uid;
  pod->setCredential(findCredential(spec.credential));
  pod->netns = adoptNetns(spec.netns);
  if (!pod->netns.fd.valid())
    throw EngineError(std::string("the network namespace is not usable: ") + errorText(errno));
  for (const ListenerSpec& listener : spec.listeners) {
    int listening = 0;
    socklen_t length = sizeof listening;
    const std::string name = "descriptor " + std::to_string(listener.fd);
    if (getsockopt(listener.fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) != 0) {
      throw EngineError(name + " is not a socket");
    }
    if (listening != 1) throw EngineError(name + " is not listening");
  }
  pod->originalDestination.kind = spec.originalDestination;
  pod->originalDestination.fixed = spec.fixed;
  pod->originalDestination.netnsCookie = spec.netnsCookie;
  if (spec.originalDestination == OriginalDestinationKind::map) {
    pod->originalDestination.map.reset(fcntl(spec.mapFd, F_DUPFD_CLOEXEC, 3));
    if (!pod->originalDestination.map.valid()) throw EngineError("the map of original destinations is not usable");
  }
  pod->leaveMark = spec.leaveMark;
  pod->deliverMark = spec.deliverMark;
  pod->setAddresses(spec.addresses);
  pod->decisions.advance(epoch_);
  pod->home = nextHome_++ % workers();
  pods_.emplace(pod->handle, pod);
  livePods_.fetch_add(1, std::memory_order_relaxed);
  for (const ListenerSpec& listener : spec.listeners) {
    Fd fd(listener.fd);
    fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
    // Accepted sockets inherit the listener's options (tcp(7)).
    tuneSocket(fd.get());
    workers_[pod->home]->post(Task([pod, role = listener.role, fd = std::move(fd)](Worker& at) mutable {
      if (!pod->closing.load(std::memory_order_relaxed)) at.acceptors().add(pod, role, std::move(fd));
    }));
  }
  return pod->handle;
}

void Engine::updatePod(uint64_t handle, std::optional<std::vector<Address>> addresses, uint64_t credential) {
  const auto pod = findPod(handle);
  const auto replacement = credential == 0 ? nullptr : findCredential(credential);
  if (addresses) pod->setAddresses(std::move(*addresses));
  if (replacement == nullptr) return;
  if (pod->credential() == replacement) return;
  pod->setCredential(replacement);
  for (const auto& [each, group] : groups_) {
    if (group->pod == pod) group->forgetFailure();
  }
  postAll([pod] { return Task([pod](Worker& at) { at.renewTunnels(*pod); }); });
}

void Engine::removePod(uint64_t handle, int64_t graceMs, Reason reason) {
  std::erase_if(leavingPods_, [](const auto& each) { return each.second.expired(); });
  // Asked again, perhaps with less patience.
  const auto leaving = leavingPods_.find(handle);
  const auto pod = leaving == leavingPods_.end() ? findPod(handle) : leaving->second.lock();
  const bool gone = pod == nullptr || (pod->closing.load() && pod->residents.load() == 0);
  if (gone) throw EngineError("no pod has the handle " + std::to_string(handle));
  pods_.erase(handle);
  leavingPods_.insert_or_assign(handle, pod);
  pod->decisions.clear();
  pod->residents.fetch_add(static_cast<int64_t>(workers()), std::memory_order_relaxed);
  pod->closing.store(true, std::memory_order_release);
  postAll([&] { return Task([pod, graceMs, reason](Worker& at) { at.closePod(pod, graceMs, reason); }); });
}

uint64_t Engine::addCredential() {
  const uint64_t handle = ++handles_;
  credentials_.emplace(handle, std::make_shared<Credential>(handle));
  return handle;
}

void Engine::setCredential(uint64_t handle, const CredentialSpec& spec) {
  const auto credential = findCredential(handle);
  credential->replace(std::make_shared<const CredentialVersion>(spec, options_.tls));
  // What made a peer fail may be over: the next flow tries again.
  for (const auto& [each, group] : groups_) {
    if (group->pod->credential() == credential) group->forgetFailure();
  }
  postAll([handle] { return Task([handle](Worker& at) { at.credentialChanged(handle); }); });
}

void Engine::removeCredential(uint64_t handle) {
  credentials_.erase(handle);
}

uint64_t Engine::group(uint64_t pod, const Address& peer, std::vector<std::string> expected) {
  if (expected.empty()) throw EngineError("a group must name the identities that it expects");
  const auto owner = findPod(pod);
  std::sort(expected.begin(), expected.end());
  GroupKey key{pod, peer.text(), expected};
  const auto known = groupsByKey_.find(key);
  if (known != groupsByKey_.end()) return known->second;
  const Limits& limits = options_.limits;
  const GroupLimits groupLimits{static_cast<uint32_t>(limits.flowsPerTunnel),
                                static_cast<uint32_t>(limits.tunnelsPerGroup), workers(), options_.timeouts.peerBackoff,
                                options_.timeouts.peerBackoffMax};
  const uint64_t handle = ++handles_;
  groups_.emplace(handle, std::make_shared<Group>(handle, owner, peer, std::move(expected), groupLimits));
  groupsByKey_.emplace(std::move(key), handle);
  return handle;
}

void Engine::releaseGroup(uint64_t handle) {
  const auto entry = groups_.find(handle);
  if (entry == groups_.end()) return;
  const std::shared_ptr<Group> group = entry->second;
  groups_.erase(entry);
  std::erase_if(groupsByKey_, [&](const auto& each) { return each.second == handle; });
  wakeWaiters(group, group->release());
  releasedGroups_.push_back(group);
  postAll([handle] { return Task([handle](Worker& at) { at.groupReleased(handle); }); });
}

template <typename Command>
void Engine::sendToFlow(uint64_t id, Command command) {
  if (workerOf(id) >= workers()) return;
  FlowTable& home = workers_[workerOf(id)]->flowTable();
  const std::lock_guard lock(home.mutex);
  const auto entry = home.flows.find(id);
  if (entry == home.flows.end()) return;
  // Posted under the lock: a flow that moves does so under it too, so this cannot overtake it.
  command(*entry->second, *workers_[entry->second->view.worker]);
}

void Engine::resolve(Decision& decision) const {
  if (decision.fromHandle != 0) {
    const auto pod = pods_.find(decision.fromHandle);
    if (pod != pods_.end()) decision.from = pod->second;
  }
  for (CarryTarget& target : decision.carry) {
    const auto group = groups_.find(target.groupHandle);
    if (group != groups_.end()) target.group = group->second;
  }
  std::erase_if(decision.carry, [](const CarryTarget& target) { return target.group == nullptr; });
}

bool Engine::decide(std::span<const uint8_t> records) {
  while (!records.empty()) {
    auto decision = std::make_shared<Decision>();
    if (!readDecision(records, *decision)) return false;
    resolve(*decision);
    const uint64_t flow = decision->flow;
    sendToFlow(flow, [&](Flow& found, Worker& at) {
      // From now on listings show it as judged.
      found.view.label = decision->label;
      at.post(Task(
          [flow, made = std::shared_ptr<const Decision>(decision)](Worker& worker) { worker.decide(flow, made); }));
    });
  }
  return true;
}

void Engine::advanceEpoch(uint64_t epoch, uint64_t handle) {
  if (handle != 0) {
    const auto pod = pods_.find(handle);
    if (pod != pods_.end()) pod->second->decisions.advance(epoch);
    return;
  }
  epoch_ = std::max(epoch_, epoch);
  for (const auto& [each, pod] : pods_) pod->decisions.advance(epoch);
}

void Engine::flows(const FlowFilter& filter, RecordBuffer& rows) {
  for (const auto& worker : workers_) {
    FlowTable& table = worker->flowTable();
    const std::lock_guard lock(table.mutex);
    for (const auto& [id, flow] : table.flows) {
      if (filter.pod != 0 && flow->pod()->handle != filter.pod) continue;
      if (filter.role && flow->role() != *filter.role) continue;
      if (filter.tunnel != 0 && flow->view.tunnel != filter.tunnel) continue;
      if (!filter.peer.empty() && (flow->view.peer == nullptr || *flow->view.peer != filter.peer)) continue;
      writeRecord(rows, RecordKind::flowRow, flow->record());
    }
  }
}

void Engine::flowClasses(bool outbound, FlowClasses& classes) {
  for (const auto& worker : workers_) {
    FlowTable& table = worker->flowTable();
    const std::lock_guard lock(table.mutex);
    for (const auto& [id, flow] : table.flows) {
      if (outbound || flow->role() != Role::outbound) classes.add(*flow);
    }
  }
}

void Engine::closeFlows(std::span<const double> flows, Reason reason) {
  std::vector<std::vector<uint64_t>> homes(workers());
  for (const double raw : flows) {
    const auto id = static_cast<uint64_t>(raw);
    if (workerOf(id) < workers()) homes[workerOf(id)].push_back(id);
  }
  for (unsigned home = 0; home < workers(); home++) {
    if (homes[home].empty()) continue;
    std::vector<std::vector<uint64_t>> there(workers());
    FlowTable& table = workers_[home]->flowTable();
    // Posted under the lock, as in `sendToFlow`; one message for all, so that the worker is not in the way of the rest.
    const std::lock_guard lock(table.mutex);
    for (const uint64_t id : homes[home]) {
      const auto entry = table.flows.find(id);
      if (entry != table.flows.end()) there[entry->second->view.worker].push_back(id);
    }
    for (unsigned at = 0; at < workers(); at++) {
      if (there[at].empty()) continue;
      workers_[at]->post(Task([ids = std::move(there[at]), reason](Worker& worker) {
        for (const uint64_t id : ids) worker.closeFlow(id, reason);
      }));
    }
  }
}

void Engine::leaveFlow(uint64_t id, Reason reason, bool finished) {
  sendToFlow(id, [&](Flow&, Worker& at) {
    at.post(Task([id, reason, finished](Worker& worker) { worker.leaveFlow(id, reason, finished); }));
  });
}

void Engine::tunnels(RecordBuffer& rows) {
  for (const auto& worker : workers_) {
    TunnelTable& table = worker->tunnelTable();
    const std::lock_guard lock(table.mutex);
    for (const auto& [id, tunnel] : table.tunnels) {
      if (tunnel->view.up) writeRecord(rows, RecordKind::tunnelUp, tunnel->record());
    }
  }
}

std::vector<PodLoad> Engine::podLoads() const {
  std::vector<PodLoad> loads;
  loads.reserve(pods_.size());
  for (const auto& [handle, pod] : pods_) {
    const auto now = [](const std::atomic<int64_t>& count) { return count.load(std::memory_order_relaxed); };
    loads.push_back({handle, now(pod->flows), now(pod->inboundTunnels), now(pod->outboundTunnels), now(pod->buffered)});
  }
  return loads;
}

void Engine::closeTunnels(std::span<const double> tunnels, Reason reason) {
  for (const double raw : tunnels) {
    const auto id = static_cast<uint64_t>(raw);
    if (workerOf(id) >= workers()) continue;
    workers_[workerOf(id)]->post(Task([id, reason](Worker& worker) { worker.closeTunnel(id, reason); }));
  }
}

void Engine::keepUntilHeard(uint64_t flow, Fd fd) {
  const std::lock_guard lock(keptMutex_);
  kept_.emplace(flow, std::move(fd));
}

void Engine::heard(uint64_t flow) {
  const std::lock_guard lock(keptMutex_);
  kept_.erase(flow);
}

int64_t Engine::sum(Count Counters::*counter) const {
  int64_t total = 0;
  for (const auto& worker : workers_) total += (worker->counters().*counter).get();
  return total;
}

Stats Engine::stats() {
  std::erase_if(releasedGroups_, [](const std::shared_ptr<Group>& group) { return group->tunnels() == 0; });
  Stats stats;
  stats.flowsOpen = sum(&Counters::flowsOpen);
  stats.flowsTotal = sum(&Counters::flowsTotal);
  stats.tunnelsOpen = sum(&Counters::tunnelsOpen);
  stats.tunnelsTotal = sum(&Counters::tunnelsTotal);
  stats.handshakesTotal = sum(&Counters::handshakesTotal);
  stats.handshakesFailedTotal = sum(&Counters::handshakesFailedTotal);
  stats.groups = static_cast<int64_t>(groups_.size() + releasedGroups_.size());
  stats.credentials = static_cast<int64_t>(credentials_.size());
  stats.pods = static_cast<int64_t>(pods_.size());
  stats.rememberedDecisions = remembered_.load(std::memory_order_relaxed);
  stats.rememberedHitsTotal = sum(&Counters::rememberedHitsTotal);
  stats.decisionsTotal = sum(&Counters::decisionsTotal);
  stats.batchesTotal = batches_;
  stats.bufferedBytes = sum(&Counters::bufferedBytes) + sum(&Counters::outputBytes);
  for (const auto& [handle, pod] : pods_) {
    stats.podBufferedBytesMax = std::max(stats.podBufferedBytesMax, pod->buffered.load(std::memory_order_relaxed));
  }
  stats.memoryBytes = sum(&Counters::memoryBytes);
  stats.bytesSentTotal = sum(&Counters::bytesSentTotal);
  stats.bytesReceivedTotal = sum(&Counters::bytesReceivedTotal);
  stats.retriesTotal = sum(&Counters::retriesTotal);
  stats.shedTotal = sum(&Counters::shedTotal);
  stats.acceptPausesTotal = sum(&Counters::acceptPausesTotal);
  return stats;
}

void Engine::drain() {
  draining_.store(true, std::memory_order_relaxed);
  postAll([] { return Task([](Worker& at) { at.drain(); }); });
}

void Engine::stop() {
  if (std::exchange(stopped_, true)) return;
  for (const auto& worker : workers_) worker->join();
  for (const auto& worker : workers_) worker->finishAll(Reason::agentStopped);
  memory_.stop();
  // Nothing is left that could use them: descriptors go now, not when the object does.
  kept_.clear();
  groupsByKey_.clear();
  groups_.clear();
  releasedGroups_.clear();
  pods_.clear();
  credentials_.clear();
}

bool Engine::takeEvents(RecordBuffer& into) {
  if (nextTaken_ == 0) wakePending_.store(false, std::memory_order_seq_cst);
  while (nextTaken_ < workers()) {
    workers_[nextTaken_++]->events().take(into);
    if (!into.empty()) return true;
  }
  into.clear();
  nextTaken_ = 0;
  batches_++;
  return false;
}

}  // namespace warren::engine
