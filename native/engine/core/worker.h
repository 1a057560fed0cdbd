#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "engine/base/byte_queue.h"
#include "engine/base/counters.h"
#include "engine/base/task.h"
#include "engine/base/timer_wheel.h"
#include "engine/core/acceptor.h"
#include "engine/core/conversation.h"
#include "engine/core/events.h"
#include "engine/core/flow.h"
#include "engine/core/lingering.h"
#include "engine/core/random.h"
#include "engine/core/tunnel.h"
#include "engine/http2/session_kit.h"
#include "engine/net/pollable.h"
#include "engine/net/socket_factory.h"

namespace warren::engine {

class Engine;

// A piece of plaintext that nghttp2 handed out, until its flow took it; they are chained per flow.
struct Chunk {
  const uint8_t* data = nullptr;
  size_t size = 0;
  int32_t next = -1;
};

// Buffers that every flow and tunnel of a worker uses in turn, so that idle ones need none.
struct Scratch {
  static constexpr size_t kCipher = size_t{256} * 1024;
  static constexpr size_t kPlain = size_t{128} * 1024;
  // Ciphertext of two full 64 KiB segments: what is over would travel, and wake its reader, as a small third one.
  static constexpr size_t kBatch = 130'560;
  static constexpr size_t kBatchSlack = size_t{64} * 1024;  // for control frames behind a full batch
  std::unique_ptr<uint8_t[]> cipher = std::make_unique_for_overwrite<uint8_t[]>(kCipher);
  std::unique_ptr<uint8_t[]> plain = std::make_unique_for_overwrite<uint8_t[]>(kPlain);
  std::unique_ptr<uint8_t[]> batch = std::make_unique_for_overwrite<uint8_t[]>(kBatch + kBatchSlack);
  std::vector<Chunk> chunks;
};

// Flows by id, where they were accepted; a flow that moved to another worker stays here. Locked for look-ups from other
// threads.
struct FlowTable {
  std::mutex mutex;
  std::map<uint64_t, std::unique_ptr<Flow>> flows;
};

struct TunnelTable {
  std::mutex mutex;
  std::map<uint64_t, std::unique_ptr<Tunnel>> tunnels;
};

// One thread with an epoll set, and everything that lives on it. Only `post`, the tables and the counters may be used
// by other threads.
class Worker {
 public:
  Worker(Engine& engine, unsigned index);
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker();

  void start();
  // Ends the thread; what is left is cut by `finishAll` afterwards.
  void join();
  void post(Task task);

  // From here on for the worker's own thread.
  [[nodiscard]] Engine& engine() const { return engine_; }
  [[nodiscard]] unsigned index() const { return index_; }
  [[nodiscard]] int64_t now() const { return now_; }
  TimerWheel& timers() { return timers_; }
  SegmentPool& segments() { return segments_; }
  Counters& counters() { return counters_; }
  RecordBuffer& records() { return events_.own; }
  SocketFactory& sockets() { return sockets_; }
  Scratch& scratch() { return scratch_; }
  Random& random() { return random_; }
  SessionKit& http2() { return http2_; }
  FlowTable& flowTable() { return flowTable_; }
  TunnelTable& tunnelTable() { return tunnelTable_; }
  EventQueue& events() { return events_; }
  Acceptors& acceptors() { return acceptors_; }

  bool watch(Pollable& pollable, int fd, uint32_t events);
  void rewatch(Pollable& pollable, int fd, uint32_t events);
  void unwatch(const Pollable& pollable, int fd);
  void soon(Runnable& runnable);
  // Something of the pod was buffered, or of the tunnel beyond its limit: at the end of the turn limits are looked
  // after.
  void checkMemory(const std::shared_ptr<Pod>& pod);
  void checkMemory(Tunnel& tunnel);
  // Settles the flow once the frames at hand are done with.
  void touch(Flow& flow);
  void untouch(Flow& flow);
  void settleTouched();

  // Takes and drops what a peer still sends after our last byte, for a moment, and then closes.
  void linger(Fd fd);
  Flow& addFlow(Flow::Birth birth);
  void bury(Flow& flow);
  Tunnel& addTunnel(std::unique_ptr<Tunnel> tunnel);
  void bury(Tunnel& tunnel);
  // The tunnel of a seat in its group, made now if the seat is new; null if the seat is gone.
  Tunnel* tunnelOfSeat(const std::shared_ptr<Group>& group, uint64_t tunnel);
  uint64_t nextId();

  // A flow of another worker is this one's from now on.
  void movedHere(uint64_t flow);
  // Commands from TypeScript, by id: a flow may have moved on since, then the command follows it.
  void decide(uint64_t flow, const std::shared_ptr<const Decision>& decision);
  void closeFlow(uint64_t flow, Reason reason);
  void seated(const std::shared_ptr<Group>& group, uint64_t flow, uint64_t tunnel);
  void chooseAgain(const std::shared_ptr<Group>& group, uint64_t flow);
  void closeTunnel(uint64_t tunnel, Reason reason);
  void openInbound(std::shared_ptr<Pod> pod, Fd fd, const Address& peer);
  void leaveFlow(uint64_t flow, Reason reason, bool finished);
  void credentialChanged(uint64_t credential);
  void renewTunnels(const Pod& pod);
  // Ends flows of this worker while the pod, or the process, is above its limit of memory; false if the cause is on
  // another worker.
  bool relieve(const Pod& pod);
  bool relieveProcess();
  void closePod(const std::shared_ptr<Pod>& pod, int64_t graceMs, Reason reason);
  void groupReleased(uint64_t group);
  void drain();
  // Cuts everything that is left; after `join`, from the thread that stops the engine.
  void finishAll(Reason reason);

 private:
  class Bell final : public Pollable {
   public:
    explicit Bell(Worker& worker);
    void onEvents(uint32_t events) override;
    void ring() const;
    void close() { fd_.reset(); }
    [[nodiscard]] int fd() const { return fd_.get(); }

   private:
    Worker& worker_;
    Fd fd_;
  };
  // A pod that ends with a grace period, here.
  struct Grace {
    Grace(Worker& worker, std::shared_ptr<Pod> pod, Reason reason)
        : worker(worker), pod(std::move(pod)), reason(reason), timer(this, [](void* self) {
            auto* grace = static_cast<Grace*>(self);
            // Nothing of the pod is held until the next one ends: its netns must be free to go.
            const auto pod = std::move(grace->pod);
            grace->worker.cutPod(*pod, grace->reason);
          }) {}
    Worker& worker;
    std::shared_ptr<Pod> pod;
    Reason reason;
    Timer timer;
  };

  void loop();
  void turn();
  int awaitEvents(std::span<epoll_event> events);
  void runTasks();
  void runSoon();
  // The flow if it is this worker's now; else the command is passed on to where it is.
  template <typename Command>
  void withFlow(uint64_t id, Command command);
  void cutPod(const Pod& pod, Reason reason);
  void lookAfterMemory();
  void relieve(Tunnel& tunnel);
  template <typename Enough>
  bool relieve(std::vector<Flow*> flows, const char* whose, int64_t share, Enough enough);
  // What this worker runs now; collected first, because what is done to one may end others.
  std::vector<Flow*> ownFlows(const Pod* pod = nullptr);
  std::vector<Tunnel*> ownTunnels();

  Engine& engine_;
  const unsigned index_;
  Fd epoll_;
  Counters counters_;
  SegmentPool segments_;
  int64_t now_;
  TimerWheel timers_;
  SocketFactory sockets_;
  Scratch scratch_;
  Random random_;
  SessionKit http2_;
  EventQueue events_;
  Bell bell_;
  std::mutex tasksMutex_;
  std::vector<Task> tasks_;
  FlowTable flowTable_;
  TunnelTable tunnelTable_;
  Acceptors acceptors_;
  IntrusiveList<Runnable> soon_;
  std::vector<Flow*> touched_;
  bool memoryGrew_ = false;
  std::vector<std::shared_ptr<Pod>> crowdedPods_;
  std::vector<Tunnel*> crowdedTunnels_;
  std::vector<std::unique_ptr<Flow>> buriedFlows_;
  std::vector<std::unique_ptr<Tunnel>> buriedTunnels_;
  std::vector<std::unique_ptr<Grace>> graces_;
  std::vector<std::unique_ptr<Lingering>> lingering_;
  // The batch of events being handled: what is unwatched is struck from it.
  std::span<epoll_event> batch_;
  uint64_t ids_ = 0;
  Conversation conversation_;
  // Others wanted the processor; milliseconds as `now`.
  int64_t busyUntil_ = 0;
  Timer poolTimer_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace warren::engine
