#include "engine/core/worker.h"

#include <malloc.h>
#include <pthread.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "engine/base/clock.h"
#include "engine/core/engine.h"

namespace warren::engine {

namespace {
constexpr size_t kEvents = 256;
// Work that work makes is done in the same turn, up to here: a request that arrived is answered before the next wait.
constexpr int kPasses = 3;
// A node of a flow table: three links, colour, key, value, and the allocator's own word.
constexpr int64_t kNode = 64;
// Free blocks that nobody needed for as long are given back.
constexpr int64_t kPoolLook = 400;
// Somebody else had the processor between two looks for as long: others want it, and what looking takes of it is not
// free. There are no looks for a while, the longer the more time they took.
constexpr int64_t kTakenMicros = 100;
constexpr int64_t kPausePerTaken = 16;
constexpr int64_t kMostPause = 100;

int64_t footprint(const Flow& flow) {
  return static_cast<int64_t>(malloc_usable_size(const_cast<Flow*>(&flow))) + kNode;
}
}  // namespace

Worker::Bell::Bell(Worker& worker) : worker_(worker), fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

void Worker::Bell::ring() const {
  const uint64_t one = 1;
  // A full counter already wakes.
  if (write(fd_.get(), &one, sizeof one) < 0) return;
}

void Worker::Bell::onEvents(uint32_t) {
  uint64_t count = 0;
  if (read(fd_.get(), &count, sizeof count) < 0) return;
}

Worker::Worker(Engine& engine, unsigned index)
    : engine_(engine),
      index_(index),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      segments_(counters_),
      now_(monotonicMillis()),
      timers_(now_),
      http2_(counters_),
      bell_(*this),
      acceptors_(*this),
      poolTimer_(this, [](void* self) { static_cast<Worker*>(self)->segments_.trimUnused(); }) {
  counters_.memoryBytes.add(Scratch::kCipher + Scratch::kPlain + Scratch::kBatch + Scratch::kBatchSlack);
  watch(bell_, bell_.fd(), EPOLLIN);
}

Worker::~Worker() {
  join();
}

void Worker::start() {
  thread_ = std::thread([this] { loop(); });
  pthread_setname_np(thread_.native_handle(), ("warren-" + std::to_string(index_)).c_str());
}

void Worker::join() {
  stopping_.store(true, std::memory_order_release);
  bell_.ring();
  if (thread_.joinable()) thread_.join();
}

void Worker::post(Task task) {
  bool first = false;
  {
    const std::lock_guard lock(tasksMutex_);
    first = tasks_.empty();
    tasks_.push_back(std::move(task));
  }
  if (first) bell_.ring();
}

bool Worker::watch(Pollable& pollable, int fd, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &pollable;
  return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

void Worker::rewatch(Pollable& pollable, int fd, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &pollable;
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void Worker::unwatch(const Pollable& pollable, int fd) {
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  for (epoll_event& event : batch_) {
    if (event.data.ptr == &pollable) event.data.ptr = nullptr;
  }
}

void Worker::soon(Runnable& runnable) {
  if (!runnable.soon.linked()) soon_.pushBack(runnable.soon);
}

void Worker::touch(Flow& flow) {
  if (std::exchange(flow.touched, true)) return;
  touched_.push_back(&flow);
}

void Worker::untouch(Flow& flow) {
  if (std::exchange(flow.touched, false))
    std::replace(touched_.begin(), touched_.end(), &flow, static_cast<Flow*>(nullptr));
}

void Worker::settleTouched() {
  // Settling one may touch others.
  for (size_t i = 0; i < touched_.size(); i++) {
    if (touched_[i] != nullptr) touched_[i]->settle();
  }
  touched_.clear();
  scratch_.chunks.clear();
}

void Worker::loop() {
  while (!stopping_.load(std::memory_order_acquire)) turn();
}

int Worker::awaitEvents(std::span<epoll_event> events) {
  const auto look = [&](int64_t most) {
    return epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), static_cast<int>(most));
  };
  if (!soon_.empty()) return look(0);
  const int64_t since = monotonicMicros();
  int count = 0;
  if (now_ >= busyUntil_ && conversation_.looksOn()) {
    // Without sched_yield in between: where control groups share a processor, it gives it to none of the others, and
    // one that it does give it to has it for longer than a look takes.
    for (int64_t at = since; count == 0 && at - since < Conversation::kLook;) {
      count = look(0);
      const int64_t before = std::exchange(at, monotonicMicros());
      if (at - before > kTakenMicros)
        busyUntil_ = now_ + std::min((at - before) * kPausePerTaken / 1'000 + 1, kMostPause);
    }
    conversation_.looked(count > 0);
  }
  if (count == 0) count = look(timers_.untilNext());
  if (count > 1) {
    conversation_.interrupted();
  } else if (count == 1 && events[0].data.ptr != &bell_) {
    conversation_.heard(events[0].data.ptr, monotonicMicros() - since);
  } else {
    conversation_.unheard();
  }
  return count;
}

void Worker::turn() {
  std::array<epoll_event, kEvents> events;  // NOLINT(cppcoreguidelines-pro-type-member-init): the kernel fills it
  const int count = awaitEvents(events);
  now_ = monotonicMillis();
  batch_ = {events.data(), static_cast<size_t>(std::max(count, 0))};
  // Commands come before events: what TypeScript asked for is done before what happened since. The bell is stilled
  // first, so that one rung from here on is heard.
  for (epoll_event& event : batch_) {
    if (event.data.ptr != &bell_) continue;
    bell_.onEvents(event.events);
    event.data.ptr = nullptr;
  }
  runTasks();
  if (count > 0) {
    for (const epoll_event& event : batch_) {
      if (event.data.ptr != nullptr) static_cast<Pollable*>(event.data.ptr)->onEvents(event.events);
    }
    batch_ = {};
  }
  timers_.advance(now_);
  runSoon();
  lookAfterMemory();
  if (segments_.hasFree() && !poolTimer_.armed()) timers_.arm(poolTimer_, now_ + kPoolLook);
  if (events_.publish()) engine_.wake();
  buriedFlows_.clear();
  buriedTunnels_.clear();
}

void Worker::runTasks() {
  std::vector<Task> tasks;
  {
    const std::lock_guard lock(tasksMutex_);
    tasks.swap(tasks_);
  }
  for (Task& task : tasks) task.run(*this);
}

void Worker::runSoon() {
  for (int pass = 0; pass < kPasses && !soon_.empty(); pass++) {
    IntrusiveList<Runnable> now;
    soon_.spliceInto(now);
    while (Runnable* runnable = now.popFront()) runnable->run();
    settleTouched();
  }
}

void Worker::linger(Fd fd) {
  std::erase_if(lingering_, [](const std::unique_ptr<Lingering>& each) { return each->done(); });
  lingering_.push_back(std::make_unique<Lingering>(*this, std::move(fd)));
}

uint64_t Worker::nextId() {
  return ++ids_ << kWorkerBits | index_;
}

Flow& Worker::addFlow(Flow::Birth birth) {
  const uint64_t id = birth.id;
  birth.pod->residents.fetch_add(1, std::memory_order_relaxed);
  auto flow = std::make_unique<Flow>(*this, std::move(birth));
  Flow& added = *flow;
  counters_.flowsOpen.add(1);
  counters_.flowsTotal.add(1);
  counters_.memoryBytes.add(footprint(added));
  engine_.memory().grew(MemoryReturn::kFlow);
  const std::lock_guard lock(flowTable_.mutex);
  flowTable_.flows.emplace_hint(flowTable_.flows.end(), id, std::move(flow));
  return added;
}

void Worker::bury(Flow& flow) {
  FlowTable& home = engine_.worker(Engine::workerOf(flow.id())).flowTable();
  counters_.flowsOpen.add(-1);
  counters_.memoryBytes.add(-footprint(flow));
  engine_.release(*flow.pod());
  engine_.residentLeft(*flow.pod(), *this);
  engine_.memory().shrank(MemoryReturn::kFlow);
  const std::lock_guard lock(home.mutex);
  const auto entry = home.flows.find(flow.id());
  buriedFlows_.push_back(std::move(entry->second));
  home.flows.erase(entry);
}

Tunnel& Worker::addTunnel(std::unique_ptr<Tunnel> tunnel) {
  Tunnel& added = *tunnel;
  added.pod().residents.fetch_add(1, std::memory_order_relaxed);
  counters_.tunnelsHere.add(1);
  counters_.memoryBytes.add(static_cast<int64_t>(sizeof(Tunnel)) + kNode);
  engine_.memory().grew(MemoryReturn::kTunnel);
  {
    const std::lock_guard lock(tunnelTable_.mutex);
    tunnelTable_.tunnels.emplace(added.id(), std::move(tunnel));
  }
  added.open();
  return added;
}

void Worker::bury(Tunnel& tunnel) {
  counters_.tunnelsHere.add(-1);
  counters_.memoryBytes.add(-static_cast<int64_t>(sizeof(Tunnel)) - kNode);
  engine_.memory().shrank(MemoryReturn::kTunnel);
  if (!tunnel.outbound()) tunnel.pod().inboundTunnels.fetch_sub(1, std::memory_order_relaxed);
  engine_.residentLeft(tunnel.pod(), *this);
  const std::lock_guard lock(tunnelTable_.mutex);
  const auto entry = tunnelTable_.tunnels.find(tunnel.id());
  buriedTunnels_.push_back(std::move(entry->second));
  tunnelTable_.tunnels.erase(entry);
}

Tunnel* Worker::tunnelOfSeat(const std::shared_ptr<Group>& group, uint64_t tunnel) {
  // A tunnel that began to drain since the seat was given left its group with all seats, and opens no more streams.
  if (!group->holds(tunnel)) return nullptr;
  {
    const std::lock_guard lock(tunnelTable_.mutex);
    const auto entry = tunnelTable_.tunnels.find(tunnel);
    if (entry != tunnelTable_.tunnels.end()) return entry->second.get();
  }
  Tunnel& added = addTunnel(std::make_unique<Tunnel>(*this, tunnel, group));
  return added.closed() ? nullptr : &added;
}

void Worker::openInbound(std::shared_ptr<Pod> pod, Fd fd, const Address& peer) {
  // Accepted on another worker while the pod was removed: this one may be done with the pod.
  if (pod->closing.load(std::memory_order_acquire)) {
    pod->inboundTunnels.fetch_sub(1, std::memory_order_relaxed);
    return resetOnClose(fd.get());
  }
  const uint64_t id = engine_.tunnelIds().fetch_add(1, std::memory_order_relaxed) << kWorkerBits | index_;
  addTunnel(std::make_unique<Tunnel>(*this, id, std::move(pod), std::move(fd), peer));
}

}  // namespace warren::engine
