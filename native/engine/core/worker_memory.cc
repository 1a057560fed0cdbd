// What waits for slow readers has arrived already, and is bounded by a tunnel's, a pod's and the process's limit. Near
// one of them tunnels narrow their windows (tunnel.cc); above it the flows that hold most of it end. Whoever holds no
// more than an equal share is not the cause, so that a greedy pod costs its own flows and never a neighbour's.
#include <algorithm>
#include <string>
#include <utility>

#include "engine/core/engine.h"
#include "engine/core/worker.h"

namespace warren::engine {

namespace {
// How far below its limit what was above it is brought: a limit that is reached again by the next byte would have all
// flows looked over for each.
constexpr int64_t withRoom(int64_t limit) {
  return limit - limit / 8;
}
}  // namespace

void Worker::checkMemory(const std::shared_ptr<Pod>& pod) {
  memoryGrew_ = true;
  if (!engine_.overMemory(*pod)) return;
  if (std::find(crowdedPods_.begin(), crowdedPods_.end(), pod) == crowdedPods_.end()) crowdedPods_.push_back(pod);
}

void Worker::checkMemory(Tunnel& tunnel) {
  if (std::find(crowdedTunnels_.begin(), crowdedTunnels_.end(), &tunnel) == crowdedTunnels_.end())
    crowdedTunnels_.push_back(&tunnel);
}

void Worker::lookAfterMemory() {
  if (!std::exchange(memoryGrew_, false)) return;
  for (Tunnel* tunnel : std::exchange(crowdedTunnels_, {})) relieve(*tunnel);
  for (const std::shared_ptr<Pod>& pod : std::exchange(crowdedPods_, {})) {
    if (!relieve(*pod)) engine_.relieveOthers(*this, pod);
  }
  if (!relieveProcess()) engine_.relieveOthers(*this);
}

// Ends the flows that hold most, down to their equal `share`, until there is `enough` room.
template <typename Enough>
bool Worker::relieve(std::vector<Flow*> flows, const char* whose, int64_t share, Enough enough) {
  std::sort(flows.begin(), flows.end(), [](const Flow* a, const Flow* b) { return a->held() > b->held(); });
  for (Flow* flow : flows) {
    if (enough()) return true;
    const size_t held = flow->held();
    if (held == 0 || static_cast<int64_t>(held) < share) return false;
    counters_.shedTotal.add(1);
    flow->finish(Reason::limitMemory, std::to_string(held) + " bytes waited for a slow reader; " + whose);
  }
  return enough();
}

void Worker::relieve(Tunnel& tunnel) {
  const int64_t limit = engine_.options().limits.memoryPerTunnel;
  if (tunnel.buffered() <= limit) return;
  relieve(tunnel.flows(), "its tunnel is at its limit", 0, [&] { return tunnel.buffered() <= withRoom(limit); });
}

bool Worker::relieve(const Pod& pod) {
  if (!engine_.overMemory(pod)) return true;
  const int64_t limit = engine_.options().limits.memoryPerPod;
  const auto held = [&] { return pod.buffered.load(std::memory_order_relaxed); };
  const int64_t share = held() / std::max<int64_t>(1, pod.flows.load(std::memory_order_relaxed));
  return relieve(ownFlows(&pod), "its pod is at its limit", share, [&] { return held() <= withRoom(limit); });
}

bool Worker::relieveProcess() {
  while (engine_.overMemory()) {
    // By pod first: many flows that hold little each may together be the cause.
    const std::vector<Flow*> all = ownFlows();
    const Pod* greediest = nullptr;
    int64_t most = 0;
    for (const Flow* flow : all) {
      const int64_t held = flow->pod()->buffered.load(std::memory_order_relaxed);
      if (held > most) {
        most = held;
        greediest = flow->pod().get();
      }
    }
    const int64_t share = engine_.sharePerPod();
    if (greediest == nullptr || most < share) return false;
    std::vector<Flow*> flows;
    std::copy_if(all.begin(), all.end(), std::back_inserter(flows),
                 [&](const Flow* flow) { return flow->pod().get() == greediest; });
    const int64_t perFlow = most / std::max<int64_t>(1, greediest->flows.load(std::memory_order_relaxed));
    const bool relieved = relieve(std::move(flows), "the process is at its limit", perFlow, [&] {
      return !engine_.overMemory() || greediest->buffered.load(std::memory_order_relaxed) < share;
    });
    if (!relieved) return false;
  }
  return true;
}

}  // namespace warren::engine
