#pragma once

#include <memory>
#include <vector>

#include "base/fd.h"
#include "engine/base/timer_wheel.h"
#include "engine/core/pod.h"
#include "engine/net/pollable.h"

namespace warren::engine {

class Acceptors;
class Worker;

enum class ListenerRole : uint8_t { outbound, inbound, hbone };

// One listening socket of a pod. Level-triggered, and a turn takes a bounded number of connections: one noisy pod does
// not hold the others up.
class Acceptor final : public Pollable {
 public:
  Acceptor(Acceptors& owner, std::shared_ptr<Pod> pod, ListenerRole role, Fd fd)
      : owner_(owner), pod_(std::move(pod)), role_(role), fd_(std::move(fd)) {}
  void onEvents(uint32_t events) override;

  [[nodiscard]] const Pod& pod() const { return *pod_; }
  [[nodiscard]] int fd() const { return fd_.get(); }
  // What a flow accepted here would be.
  [[nodiscard]] Role role() const;

 private:
  void accepted(Fd fd, const Address& peer);
  void shed(Reason reason, Fd fd, const Address& peer);

  Acceptors& owner_;
  std::shared_ptr<Pod> pod_;
  const ListenerRole role_;
  Fd fd_;
};

// A worker's listeners. Out of descriptors they pause together: one descriptor is kept in reserve, so that a waiting
// connection can be taken and reset instead of hanging in the backlog, and accepting starts again after a moment.
class Acceptors {
 public:
  explicit Acceptors(Worker& worker);
  ~Acceptors();
  Acceptors(const Acceptors&) = delete;
  Acceptors& operator=(const Acceptors&) = delete;

  bool add(std::shared_ptr<Pod> pod, ListenerRole role, Fd fd);
  void removePod(const Pod& pod);
  void removeAll();
  void outOfDescriptors(const Acceptor& acceptor);
  void giveUpReserve() { reserve_.reset(); }
  [[nodiscard]] Worker& worker() const { return worker_; }

 private:
  static constexpr int64_t kPause = 50;

  void resume();

  Worker& worker_;
  Fd reserve_;
  Timer timer_;
  bool paused_ = false;
  std::vector<std::unique_ptr<Acceptor>> acceptors_;
};

}  // namespace warren::engine
