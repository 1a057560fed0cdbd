#include <cerrno>

#include "generators.h"
#include "report.h"

namespace warren::load {

namespace {

struct Slot {
  Fd socket;
  bool connected = false;
  Nanoseconds started = 0;
};

class NewFlowsRun {
 public:
  explicit NewFlowsRun(const NewFlows& load) : load_(load) {}

  int run() {
    slots_.resize(load_.concurrency);
    counting_from_ = now() + load_.warm_up;
    end_ = counting_from_ + load_.duration;
    for (std::uint64_t i = 0; i < load_.concurrency; i++) begin(i);
    while (now() < end_) {
      for (const epoll_event& event : poller_.wait_until(std::min(end_, retry_at_))) ready(event.data.u64);
      if (now() >= retry_at_) retry();
    }
    report_.number("flows", static_cast<double>(total_.count()));
    report_.number("seconds", static_cast<double>(load_.duration) / kSecond);
    report_.histogram("connect", connect_);
    report_.histogram("latency", total_);
    report_.print();
    return total_.count() == 0 ? 1 : 0;
  }

 private:
  void begin(std::uint64_t index) {
    Slot& slot = slots_[index];
    slot.connected = false;
    slot.started = now();
    slot.socket = start_connect(load_.target);
    if (slot.socket.valid()) return poller_.add(slot.socket, EPOLLOUT, index);
    count_failure(slot, errno);
  }

  void ready(std::uint64_t index) {
    Slot& slot = slots_[index];
    if (!slot.connected) {
      const int error = connect_result(slot.socket);
      if (error != 0) return give_up(slot, error);
      slot.connected = true;
      if (slot.started >= counting_from_) connect_.record(now() - slot.started);
      if (!send_all(slot.socket, "w")) return give_up(slot, errno);
      return poller_.change(slot.socket, EPOLLIN, index);
    }
    char answer = 0;
    const ssize_t received = recv(slot.socket.get(), &answer, 1, 0);
    if (received < 0 && errno == EAGAIN) return;
    if (received <= 0) return give_up(slot, received < 0 ? errno : ECONNRESET);
    if (slot.started >= counting_from_) total_.record(now() - slot.started);
    slot.socket.reset();
    begin(index);
  }

  void give_up(Slot& slot, int error) {
    slot.socket.reset();
    count_failure(slot, error);
  }

  // Trying again at once would be a busy loop where everything is refused.
  void count_failure(const Slot& slot, int error) {
    if (slot.started >= counting_from_) report_.failed(error);
    retry_at_ = std::min(retry_at_, now() + kMillisecond);
  }

  void retry() {
    retry_at_ = kNever;
    for (std::uint64_t i = 0; i < slots_.size(); i++)
      if (!slots_[i].socket.valid()) begin(i);
  }

  static constexpr Nanoseconds kNever = INT64_MAX;

  const NewFlows& load_;
  Poller poller_;
  std::vector<Slot> slots_;
  Histogram connect_;
  Histogram total_;
  Report report_;
  Nanoseconds counting_from_ = 0;
  Nanoseconds end_ = 0;
  Nanoseconds retry_at_ = kNever;
};

}  // namespace

int new_flows(const NewFlows& load) {
  return NewFlowsRun(load).run();
}

}  // namespace warren::load
