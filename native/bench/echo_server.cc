#include <cerrno>
#include <csignal>
#include <limits>
#include <memory>
#include <string>
#include <unordered_map>

#include "generators.h"

namespace warren::load {

namespace {

struct Client {
  Fd socket;
  // What the client does not take yet; it is read no further meanwhile.
  std::string unsent;
};

constexpr std::uint64_t kListener = std::numeric_limits<std::uint64_t>::max();
constexpr std::size_t kReadSize = std::size_t{256} * 1024;

class EchoServer {
 public:
  explicit EchoServer(int port) : listener_(listen_on(port)), buffer_(kReadSize, '\0') {
    poller_.add(listener_, EPOLLIN, kListener);
  }

  [[noreturn]] void run() {
    for (;;) {
      for (const epoll_event& event : poller_.wait_until(now() + 60 * kSecond)) {
        if (event.data.u64 == kListener)
          accept_all();
        else if (!serve(event.data.u64, event.events))
          clients_.erase(event.data.u64);
      }
    }
  }

 private:
  void accept_all() {
    for (;;) {
      Client client{Fd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)), {}};
      if (!client.socket.open()) return;
      const std::uint64_t index = next_index_++;
      poller_.add(client.socket, EPOLLIN, index);
      clients_.emplace(index, std::move(client));
    }
  }

  // False when the connection is over.
  bool serve(std::uint64_t index, std::uint32_t events) {
    Client& client = clients_.at(index);
    if ((events & EPOLLOUT) != 0) {
      const ssize_t sent = send(client.socket.get(), client.unsent.data(), client.unsent.size(), MSG_NOSIGNAL);
      if (sent < 0) return errno == EAGAIN;
      client.unsent.erase(0, static_cast<std::size_t>(sent));
      if (client.unsent.empty()) poller_.change(client.socket, EPOLLIN, index);
      return true;
    }
    const ssize_t received = recv(client.socket.get(), buffer_.data(), buffer_.size(), 0);
    if (received <= 0) return received < 0 && errno == EAGAIN;
    const ssize_t sent = send(client.socket.get(), buffer_.data(), static_cast<std::size_t>(received), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return false;
    if (sent == received) return true;
    client.unsent.assign(buffer_, static_cast<std::size_t>(sent < 0 ? 0 : sent),
                         static_cast<std::size_t>(received - (sent < 0 ? 0 : sent)));
    poller_.change(client.socket, EPOLLOUT, index);
    return true;
  }

  Fd listener_;
  Poller poller_;
  std::string buffer_;
  std::unordered_map<std::uint64_t, Client> clients_;
  std::uint64_t next_index_ = 0;
};

}  // namespace

void serve_echo(int port) {
  EchoServer(port).run();
}

}  // namespace warren::load
