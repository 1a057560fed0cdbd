#pragma once

#include <cerrno>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "report.h"
#include "socket.h"

namespace warren::load {

// Opens many connections, a bounded number at a time, proves each by one byte there and back, and keeps them.
class HeldFlows {
 public:
  // `connect` makes the socket of the flow with that index.
  HeldFlows(std::uint64_t flows, std::uint64_t concurrency, std::function<Fd(std::uint64_t)> connect)
      : flows_(flows), concurrency_(concurrency), connect_(std::move(connect)) {}

  void open_all(Nanoseconds deadline) {
    while (settled_ < flows_.size() && now() < deadline) {
      while (begun_ < flows_.size() && begun_ - settled_ < concurrency_) begin(begun_++);
      for (const epoll_event& event : poller_.wait_until(deadline)) ready(event.data.u64);
    }
    for (std::uint64_t left = settled_; left < flows_.size(); left++) report_.failed(ETIMEDOUT);
  }

  void close_all() { flows_.clear(); }

  [[nodiscard]] std::uint64_t proven() const { return latency_.count(); }
  [[nodiscard]] const Histogram& latency() const { return latency_; }
  Report& report() { return report_; }

 private:
  struct Flow {
    Fd socket;
    bool connected = false;
    bool proven = false;
    Nanoseconds started = 0;
  };

  void begin(std::uint64_t index) {
    Flow& flow = flows_[index];
    flow.started = now();
    flow.socket = connect_(index);
    if (flow.socket.valid())
      poller_.add(flow.socket, EPOLLOUT, index);
    else
      fail(flow, errno);
  }

  void ready(std::uint64_t index) {
    Flow& flow = flows_[index];
    if (!flow.socket.valid()) return;
    if (flow.proven) {
      flow.socket.reset();
      return report_.failed("lost");
    }
    if (!flow.connected) {
      const int error = connect_result(flow.socket);
      if (error != 0) return fail(flow, error);
      flow.connected = true;
      if (!send_all(flow.socket, "w")) return fail(flow, errno);
      return poller_.change(flow.socket, EPOLLIN, index);
    }
    char answer = 0;
    const ssize_t received = recv(flow.socket.get(), &answer, 1, 0);
    if (received < 0 && errno == EAGAIN) return;
    if (received <= 0) return fail(flow, received < 0 ? errno : ECONNRESET);
    latency_.record(now() - flow.started);
    settled_++;
    flow.proven = true;
    // From here on it only lies there; what happens to it shows when it is used or closed.
    poller_.change(flow.socket, 0, index);
  }

  void fail(Flow& flow, int error) {
    flow.socket.reset();
    report_.failed(error);
    settled_++;
  }

  std::vector<Flow> flows_;
  std::uint64_t concurrency_;
  std::function<Fd(std::uint64_t)> connect_;
  Poller poller_;
  Histogram latency_;
  Report report_;
  std::uint64_t begun_ = 0;
  std::uint64_t settled_ = 0;
};

}  // namespace warren::load
