#include <cerrno>
#include <cmath>
#include <deque>
#include <string>

#include "generators.h"
#include "report.h"

namespace warren::load {

namespace {

struct Connection {
  Fd socket;
  bool up = false;
  // When each request that has no whole answer yet was due, oldest first. TCP answers in order.
  std::deque<Nanoseconds> due;
  // Bytes of the oldest one's answer that have come.
  std::size_t arrived = 0;
  // Bytes of requests that the socket had no room for.
  std::size_t unsent = 0;
};

constexpr Nanoseconds kConnectLimit = 10 * kSecond;
constexpr Nanoseconds kAnswerLimit = 2 * kSecond;
constexpr std::size_t kReadSize = std::size_t{256} * 1024;

class OpenLoopRun {
 public:
  explicit OpenLoopRun(const OpenLoop& load) : load_(load), request_(load.size, 'w'), answer_(kReadSize, '\0') {}

  int run() {
    if (!connect_all()) {
      report_.print();
      return 1;
    }
    const Nanoseconds started = now();
    counting_from_ = started + load_.warm_up;
    const Nanoseconds end = counting_from_ + load_.duration;
    const auto total = static_cast<std::uint64_t>(static_cast<double>(end - started) / kSecond * load_.rate);
    std::uint64_t sent = 0;
    while (sent < total && living_ > 0) {
      const Nanoseconds due = started + due_after(sent);
      if (due <= now()) {
        ask(sent % connections_.size(), due);
        sent++;
        // Answers are read between requests that are late, too: otherwise a generator that fell behind would never see
        // them.
        if (sent % 16 != 0) continue;
      }
      for (const epoll_event& event : poller_.wait_until(started + due_after(sent)))
        ready(event.data.u64, event.events);
    }
    const Nanoseconds given_up = now() + kAnswerLimit;
    while (waiting_ > 0 && living_ > 0 && now() < given_up) {
      for (const epoll_event& event : poller_.wait_until(given_up)) ready(event.data.u64, event.events);
    }
    for (Connection& connection : connections_) abandon(connection);
    report_.number("rate", load_.rate);
    // Those of the warm-up included: what the work cost was paid for all of them.
    report_.number("sent", static_cast<double>(sent));
    report_.number("requests", static_cast<double>(latency_.count()));
    report_.number("unanswered", static_cast<double>(unanswered_));
    // How far the end of the work lies behind the end of the schedule: 1 when the rate was kept up.
    const Nanoseconds finished = std::max(last_answer_, end);
    report_.number("seconds", static_cast<double>(finished - counting_from_) / kSecond);
    report_.number("achieved", static_cast<double>(load_.duration) / static_cast<double>(finished - counting_from_));
    report_.histogram("latency", latency_);
    report_.print();
    return living_ == 0 ? 1 : 0;
  }

 private:
  [[nodiscard]] Nanoseconds due_after(std::uint64_t requests) const {
    return static_cast<Nanoseconds>(static_cast<double>(requests) * kSecond / load_.rate);
  }

  bool connect_all() {
    connections_.resize(load_.connections);
    for (std::uint64_t i = 0; i < load_.connections; i++) {
      connections_[i].socket = start_connect(load_.target);
      if (!connections_[i].socket.valid()) return report_.failed(errno), false;
      poller_.add(connections_[i].socket, EPOLLOUT, i);
      living_++;
    }
    const Nanoseconds limit = now() + kConnectLimit;
    for (std::uint64_t up = 0; up < load_.connections;) {
      if (now() >= limit) return report_.failed(ETIMEDOUT), false;
      for (const epoll_event& event : poller_.wait_until(limit)) {
        Connection& connection = connections_[event.data.u64];
        const int error = connect_result(connection.socket);
        if (error != 0) return report_.failed(error), false;
        if (!connection.up) up++;
        connection.up = true;
        poller_.change(connection.socket, EPOLLIN, event.data.u64);
      }
    }
    return true;
  }

  void ask(std::uint64_t index, Nanoseconds due) {
    Connection& connection = connections_[index];
    if (!connection.socket.valid()) {
      if (due >= counting_from_) report_.failed("no-connection");
      return;
    }
    connection.due.push_back(due);
    waiting_++;
    connection.unsent += load_.size;
    flush(connection, index);
  }

  void flush(Connection& connection, std::uint64_t index) {
    while (connection.unsent > 0) {
      // All bytes are alike, so it does not matter in which request a short write stopped.
      const std::size_t part = std::min(connection.unsent, request_.size());
      const ssize_t sent = send(connection.socket.get(), request_.data(), part, MSG_NOSIGNAL);
      if (sent < 0 && errno == EAGAIN) return poller_.change(connection.socket, EPOLLIN | EPOLLOUT, index);
      if (sent < 0) return lost(connection, errno);
      connection.unsent -= static_cast<std::size_t>(sent);
    }
  }

  void ready(std::uint64_t index, std::uint32_t events) {
    Connection& connection = connections_[index];
    if (!connection.socket.valid()) return;
    if ((events & EPOLLOUT) != 0) {
      poller_.change(connection.socket, EPOLLIN, index);
      flush(connection, index);
      if (!connection.socket.valid()) return;
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
    const ssize_t received = recv(connection.socket.get(), answer_.data(), answer_.size(), 0);
    if (received < 0 && errno == EAGAIN) return;
    if (received <= 0) return lost(connection, received < 0 ? errno : ECONNRESET);
    connection.arrived += static_cast<std::size_t>(received);
    const Nanoseconds at = now();
    while (connection.arrived >= load_.size && !connection.due.empty()) {
      connection.arrived -= load_.size;
      const Nanoseconds due = connection.due.front();
      connection.due.pop_front();
      waiting_--;
      if (due < counting_from_) continue;
      latency_.record(at - due);
      last_answer_ = at;
    }
  }

  void lost(Connection& connection, int error) {
    report_.failed(error);
    abandon(connection);
    connection.socket.reset();
    living_--;
  }

  // A request without an answer waited at least until now; to leave it out would be the omission that open loops are
  // there to avoid.
  void abandon(Connection& connection) {
    const Nanoseconds at = now();
    for (const Nanoseconds due : connection.due) {
      waiting_--;
      if (due < counting_from_) continue;
      latency_.record(at - due);
      unanswered_++;
      last_answer_ = at;
    }
    connection.due.clear();
  }

  const OpenLoop& load_;
  const std::string request_;
  std::string answer_;
  Poller poller_;
  std::vector<Connection> connections_;
  Histogram latency_;
  Report report_;
  Nanoseconds counting_from_ = 0;
  Nanoseconds last_answer_ = 0;
  std::uint64_t waiting_ = 0;
  std::uint64_t living_ = 0;
  std::uint64_t unanswered_ = 0;
};

}  // namespace

int open_loop(const OpenLoop& load) {
  return OpenLoopRun(load).run();
}

}  // namespace warren::load
