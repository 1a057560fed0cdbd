// The part of the engine that all workers share: limits, loads, seats.
#include <algorithm>

#include "engine/core/engine.h"

namespace warren::engine {

namespace {
// A worker passes a flow on when it has this many more than another, so that few flows stay together with their tunnel.
constexpr int64_t kUneven = 16;
// The last part of the process's descriptors is for pods that have no more than an equal share of the others.
constexpr int64_t kReserved = 8;
// Of a flow at most: the accepted socket, the two ends between which its requests are judged, and the application's.
constexpr int64_t kFlowDescriptors = 4;
}  // namespace

const ReasonAnswer& Engine::answerFor(Reason reason) const {
  const auto index = static_cast<size_t>(reason);
  return options_.reasons[index < options_.reasons.size() ? index : options_.reasons.size() - 1];
}

void Engine::wake() {
  if (!wakePending_.exchange(true, std::memory_order_seq_cst)) onWake_();
}

bool Engine::admit(const Pod& pod) {
  if (flows_.fetch_add(1, std::memory_order_relaxed) >= options_.limits.flows) {
    flows_.fetch_sub(1, std::memory_order_relaxed);
    return false;
  }
  if (pod.flows.fetch_add(1, std::memory_order_relaxed) >= options_.limits.flowsPerPod) {
    release(pod);
    return false;
  }
  return true;
}

void Engine::release(const Pod& pod) {
  flows_.fetch_sub(1, std::memory_order_relaxed);
  pod.flows.fetch_sub(1, std::memory_order_relaxed);
}

bool Engine::crowdedOut(const Pod& pod, int fd) const {
  const int64_t most = options_.limits.descriptors;
  const int64_t shared = most - most / kReserved;
  // The lowest free number is given out (open(2)): as many as this one are in use.
  if (most == 0 || fd < shared) return false;
  const int64_t held = kFlowDescriptors * pod.flows.load(std::memory_order_relaxed) +
                       pod.inboundTunnels.load(std::memory_order_relaxed) +
                       pod.outboundTunnels.load(std::memory_order_relaxed);
  return held > shared / std::max<int64_t>(1, livePods_.load(std::memory_order_relaxed));
}

void Engine::residentLeft(const Pod& pod, Worker& worker) {
  if (pod.residents.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  if (!pod.closing.load(std::memory_order_acquire)) return;
  livePods_.fetch_sub(1, std::memory_order_relaxed);
  writePodGone(worker.records(), pod.handle);
}

int64_t Engine::waiting() const {
  return sum(&Counters::bufferedBytes);
}

bool Engine::overMemory() const {
  return waiting() > options_.limits.memory;
}

bool Engine::overMemory(const Pod& pod) const {
  return pod.buffered.load(std::memory_order_relaxed) > options_.limits.memoryPerPod;
}

int64_t Engine::sharePerPod() const {
  return options_.limits.memory / std::max<int64_t>(1, livePods_.load(std::memory_order_relaxed));
}

void Engine::relieveOthers(const Worker& worker, const std::shared_ptr<const Pod>& pod) {
  for (const auto& other : workers_) {
    if (other.get() != &worker) other->post(Task([pod](Worker& at) { at.relieve(*pod); }));
  }
}

void Engine::relieveOthers(const Worker& worker) {
  for (const auto& other : workers_) {
    if (other.get() != &worker) other->post(Task([](Worker& at) { at.relieveProcess(); }));
  }
}

Worker& Engine::fewestTunnels(Worker& preferred) const {
  Worker* best = &preferred;
  for (const auto& worker : workers_) {
    if (worker->counters().tunnelsHere.get() < best->counters().tunnelsHere.get()) best = worker.get();
  }
  return *best;
}

Worker& Engine::lighter(Worker& preferred) const {
  Worker* best = &preferred;
  for (const auto& worker : workers_) {
    if (worker->counters().flowsOpen.get() + kUneven < best->counters().flowsOpen.get()) best = worker.get();
  }
  return *best;
}

void Engine::leaveSeat(const std::shared_ptr<Group>& group, uint64_t tunnel) {
  const auto next = group->leave(tunnel);
  if (next) seatWaiters(group, tunnel, {*next});
}

void Engine::seatWaiters(const std::shared_ptr<Group>& group, uint64_t tunnel, const std::vector<Waiter>& waiters) {
  for (const Waiter& waiter : waiters) {
    workers_[waiter.worker]->post(
        Task([group, flow = waiter.flow, tunnel](Worker& at) { at.seated(group, flow, tunnel); }));
  }
}

void Engine::wakeWaiters(const std::shared_ptr<Group>& group, const std::vector<Waiter>& waiters) {
  for (const Waiter& waiter : waiters) {
    workers_[waiter.worker]->post(Task([group, flow = waiter.flow](Worker& at) { at.chooseAgain(group, flow); }));
  }
}

}  // namespace warren::engine
