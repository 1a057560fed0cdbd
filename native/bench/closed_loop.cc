#include <cerrno>
#include <string>
#include <string_view>

#include "generators.h"
#include "report.h"

namespace warren::load {

namespace {

struct Connection {
  Fd socket;
  std::size_t missing = 0;
  // Of an HTTP answer: what has come of its header section.
  std::string head;
  Nanoseconds sent_at = 0;
};

const std::string kGet = "GET /orders/17 HTTP/1.1\r\nHost: server\r\nUser-Agent: warren_load\r\nAccept: */*\r\n\r\n";
constexpr std::size_t kHttpReadSize = 16384;
constexpr std::string_view kHeadEnd = "\r\n\r\n";

class ClosedLoopRun {
 public:
  explicit ClosedLoopRun(const ClosedLoop& load)
      : load_(load),
        request_(load.http ? kGet : std::string(load.size, 'w')),
        answer_(load.http ? kHttpReadSize : load.size, '\0') {}

  int run() {
    connections_.resize(load_.connections);
    for (std::uint64_t i = 0; i < load_.connections; i++) open(i);
    const Nanoseconds started = now();
    counting_from_ = started + load_.warm_up;
    const Nanoseconds end = counting_from_ + load_.duration;
    while (now() < end && living_ > 0) {
      for (const epoll_event& event : poller_.wait_until(end)) ready(event.data.u64, event.events);
    }
    // A request that is still out belongs to the picture: leaving it out would hide a stall at the end.
    for (const Connection& connection : connections_)
      if (connection.socket.valid() && connection.missing > 0 && connection.sent_at >= counting_from_) unanswered_++;
    report_.number("requests", static_cast<double>(latency_.count()));
    report_.number("seconds", static_cast<double>(load_.duration) / kSecond);
    report_.number("unanswered", static_cast<double>(unanswered_));
    report_.histogram("latency", latency_);
    report_.print();
    return living_ == 0 ? 1 : 0;
  }

 private:
  void open(std::uint64_t index) {
    Connection& connection = connections_[index];
    connection.socket = start_connect(load_.target);
    if (!connection.socket.valid()) return report_.failed(errno);
    living_++;
    poller_.add(connection.socket, EPOLLOUT, index);
  }

  void ready(std::uint64_t index, std::uint32_t events) {
    Connection& connection = connections_[index];
    if (!connection.socket.valid()) return;
    if ((events & EPOLLOUT) != 0 && connection.sent_at == 0) {
      const int error = connect_result(connection.socket);
      if (error != 0) return lost(connection, error);
      poller_.change(connection.socket, EPOLLIN, index);
      return ask(connection);
    }
    const std::size_t wanted = load_.http ? answer_.size() : connection.missing;
    const ssize_t received = recv(connection.socket.get(), answer_.data(), wanted, 0);
    if (received < 0 && errno == EAGAIN) return;
    if (received <= 0) return lost(connection, received < 0 ? errno : ECONNRESET);
    if (!take(connection, static_cast<std::size_t>(received))) return lost(connection, EBADMSG);
    if (connection.missing > 0) return;
    if (connection.sent_at >= counting_from_) latency_.record(now() - connection.sent_at);
    ask(connection);
  }

  // False when what came is no answer to what was asked.
  bool take(Connection& connection, std::size_t received) {
    std::size_t body = received;
    if (load_.http && !connection.head.ends_with(kHeadEnd)) {
      const std::size_t before = connection.head.size();
      connection.head.append(answer_, 0, received);
      const std::size_t end = connection.head.find(kHeadEnd);
      if (end == std::string::npos) return true;
      connection.head.resize(end + kHeadEnd.size());
      if (!connection.head.starts_with("HTTP/1.1 200 ")) return false;
      body = before + received - connection.head.size();
    }
    if (body > connection.missing) return false;
    connection.missing -= body;
    return true;
  }

  void ask(Connection& connection) {
    connection.sent_at = now();
    connection.missing = load_.http ? kHttpBody : load_.size;
    connection.head.clear();
    if (!send_all(connection.socket, request_)) lost(connection, errno);
  }

  void lost(Connection& connection, int error) {
    report_.failed(error);
    connection.socket.reset();
    living_--;
  }

  const ClosedLoop& load_;
  const std::string request_;
  std::string answer_;
  Poller poller_;
  std::vector<Connection> connections_;
  Histogram latency_;
  Report report_;
  Nanoseconds counting_from_ = 0;
  std::uint64_t living_ = 0;
  std::uint64_t unanswered_ = 0;
};

}  // namespace

int closed_loop(const ClosedLoop& load) {
  return ClosedLoopRun(load).run();
}

}  // namespace warren::load
