#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/core/events.h"
#include "engine/core/flow_classes.h"
#include "engine/core/group.h"
#include "engine/core/memory_return.h"
#include "engine/core/options.h"
#include "engine/core/pod.h"
#include "engine/core/worker.h"
#include "engine/tls/tls_channel.h"

namespace warren::engine {

// What TypeScript asked for cannot be done; nothing was changed.
class EngineError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct ListenerSpec {
  ListenerRole role = ListenerRole::outbound;
  int fd = -1;
};

// As `PodSpec` of src/tunnel/engine.ts, with handles and addresses resolved; descriptors still belong to the caller.
struct PodSpec {
  std::string uid;
  int netns = -1;
  std::vector<Address> addresses;
  std::vector<ListenerSpec> listeners;
  OriginalDestinationKind originalDestination = OriginalDestinationKind::fixed;
  int mapFd = -1;
  uint64_t netnsCookie = 0;
  Address fixed;
  uint32_t leaveMark = 0;
  uint32_t deliverMark = 0;
  uint64_t credential = 0;
};

struct FlowFilter {
  uint64_t pod = 0;
  uint64_t tunnel = 0;
  std::optional<Role> role;
  std::string peer;
};

// What one pod takes of its limits.
struct PodLoad {
  uint64_t pod = 0;
  int64_t flows = 0;
  int64_t inboundTunnels = 0;
  int64_t outboundTunnels = 0;
  int64_t bufferedBytes = 0;
};

struct Stats {
  int64_t flowsOpen = 0;
  int64_t flowsTotal = 0;
  int64_t tunnelsOpen = 0;
  int64_t tunnelsTotal = 0;
  int64_t handshakesTotal = 0;
  int64_t handshakesFailedTotal = 0;
  int64_t groups = 0;
  int64_t credentials = 0;
  int64_t pods = 0;
  int64_t rememberedDecisions = 0;
  int64_t rememberedHitsTotal = 0;
  int64_t decisionsTotal = 0;
  int64_t batchesTotal = 0;
  int64_t bufferedBytes = 0;
  int64_t podBufferedBytesMax = 0;
  int64_t memoryBytes = 0;
  int64_t bytesSentTotal = 0;
  int64_t bytesReceivedTotal = 0;
  int64_t retriesTotal = 0;
  int64_t shedTotal = 0;
  int64_t acceptPausesTotal = 0;
};

// The engine behind src/tunnel/engine.ts: workers that move bytes, and the tables of what TypeScript made. The public
// part up to `stop` is called by one thread, the one that decides; the rest is for workers, from any of them.
class Engine {
 public:
  // `wake` is called by workers, once for everything that `takeEvents` will then find.
  Engine(Options options, std::function<void()> wake);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  ~Engine();

  uint64_t addPod(const PodSpec& spec);
  void updatePod(uint64_t pod, std::optional<std::vector<Address>> addresses, uint64_t credential);
  void removePod(uint64_t pod, int64_t graceMs, Reason reason);
  uint64_t addCredential();
  void setCredential(uint64_t credential, const CredentialSpec& spec);
  void removeCredential(uint64_t credential);
  uint64_t group(uint64_t pod, const Address& peer, std::vector<std::string> expected);
  void releaseGroup(uint64_t group);
  // A batch of decision records. False if it was malformed; what came before the bad record was carried out.
  bool decide(std::span<const uint8_t> records);
  void advanceEpoch(uint64_t epoch, uint64_t pod);
  void flows(const FlowFilter& filter, RecordBuffer& rows);
  // Open flows by what policy sees of them; those that leave the pods only if asked for.
  void flowClasses(bool outbound, FlowClasses& classes);
  void closeFlows(std::span<const double> flows, Reason reason);
  void leaveFlow(uint64_t flow, Reason reason, bool finished);
  void tunnels(RecordBuffer& rows);
  [[nodiscard]] std::vector<PodLoad> podLoads() const;
  void closeTunnels(std::span<const double> tunnels, Reason reason);
  void heard(uint64_t flow);
  [[nodiscard]] Stats stats();
  void drain();
  // Ends the workers and everything they had; events of it can still be taken.
  void stop();
  // The next worker's published events; false when there are none.
  bool takeEvents(RecordBuffer& into);

  // For workers.
  [[nodiscard]] const Options& options() const { return options_; }
  [[nodiscard]] const TlsTransport& transport() const { return transport_; }
  [[nodiscard]] unsigned workers() const { return static_cast<unsigned>(workers_.size()); }
  [[nodiscard]] Worker& worker(unsigned index) const { return *workers_[index]; }
  static unsigned workerOf(uint64_t id) { return static_cast<unsigned>(id & (kMostWorkers - 1)); }
  std::atomic<uint64_t>& tunnelIds() { return tunnelIds_; }
  MemoryReturn& memory() { return memory_; }
  [[nodiscard]] bool draining() const { return draining_.load(std::memory_order_relaxed); }
  [[nodiscard]] const ReasonAnswer& answerFor(Reason reason) const;
  void wake();
  // Counts a new flow against the process's and the pod's limits; `release` gives it back.
  bool admit(const Pod& pod);
  void release(const Pod& pod);
  // Descriptors are getting few, as the number of a new one tells, and the pod has more than its share of them.
  [[nodiscard]] bool crowdedOut(const Pod& pod, int fd) const;
  // Said of what such a pod is refused.
  static constexpr const char* kCrowdedOut = "the pod has more than its share of them";
  void residentLeft(const Pod& pod, Worker& worker);
  // Bytes that wait for slow readers.
  [[nodiscard]] int64_t waiting() const;
  [[nodiscard]] bool overMemory() const;
  [[nodiscard]] bool overMemory(const Pod& pod) const;
  // What the process's limit of memory is for each pod, if all hold the same.
  [[nodiscard]] int64_t sharePerPod() const;
  // Workers other than this one have what holds too much, of one pod or of the process.
  void relieveOthers(const Worker& worker, const std::shared_ptr<const Pod>& pod);
  void relieveOthers(const Worker& worker);
  [[nodiscard]] Worker& fewestTunnels(Worker& preferred) const;
  [[nodiscard]] Worker& lighter(Worker& preferred) const;
  void leaveSeat(const std::shared_ptr<Group>& group, uint64_t tunnel);
  void seatWaiters(const std::shared_ptr<Group>& group, uint64_t tunnel, const std::vector<Waiter>& waiters);
  void wakeWaiters(const std::shared_ptr<Group>& group, const std::vector<Waiter>& waiters);
  // Keeps a handed-over flow's socket until TypeScript has heard that the flow ended.
  void keepUntilHeard(uint64_t flow, Fd fd);

 private:
  struct GroupKey {
    uint64_t pod = 0;
    std::string peer;
    std::vector<std::string> expected;
    bool operator<(const GroupKey& other) const {
      return std::tie(pod, peer, expected) < std::tie(other.pod, other.peer, other.expected);
    }
  };

  std::shared_ptr<Pod> findPod(uint64_t handle) const;
  std::shared_ptr<Credential> findCredential(uint64_t handle) const;
  void resolve(Decision& decision) const;
  template <typename Command>
  void sendToFlow(uint64_t flow, Command command);
  void postAll(const std::function<Task()>& make);
  [[nodiscard]] int64_t sum(Count Counters::*counter) const;

  const Options options_;
  const std::function<void()> onWake_;
  const TlsTransport transport_;
  std::atomic<bool> wakePending_{false};
  std::atomic<bool> draining_{false};
  std::atomic<int64_t> flows_{0};
  std::atomic<int64_t> livePods_{0};
  std::atomic<int64_t> remembered_{0};
  std::atomic<uint64_t> tunnelIds_{1};
  MemoryReturn memory_;
  std::mutex keptMutex_;
  std::unordered_map<uint64_t, Fd> kept_;

  // Of the deciding thread.
  uint64_t epoch_ = 0;
  uint64_t handles_ = 0;
  int64_t batches_ = 0;
  unsigned nextHome_ = 0;
  unsigned nextTaken_ = 0;
  bool stopped_ = false;
  std::unordered_map<uint64_t, std::shared_ptr<Pod>> pods_;
  std::unordered_map<uint64_t, std::weak_ptr<Pod>> leavingPods_;
  std::unordered_map<uint64_t, std::shared_ptr<Credential>> credentials_;
  std::unordered_map<uint64_t, std::shared_ptr<Group>> groups_;
  std::map<GroupKey, uint64_t> groupsByKey_;
  std::vector<std::shared_ptr<Group>> releasedGroups_;

  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace warren::engine
