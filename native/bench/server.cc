#include <cerrno>
#include <csignal>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "generators.h"

namespace warren::load {

namespace {

struct Client {
  Fd socket;
  // What the client does not take yet; it is read no further meanwhile.
  std::string unsent;
  // How much of the end of a header section has come.
  std::size_t ended = 0;
};

constexpr std::uint64_t kListener = std::numeric_limits<std::uint64_t>::max();
constexpr std::size_t kReadSize = std::size_t{256} * 1024;

const std::string kHttpAnswer =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " + std::to_string(kHttpBody) + "\r\n\r\n" +
    std::string(kHttpBody, 'x');
constexpr std::string_view kHeadEnd = "\r\n\r\n";

class Server {
 public:
  Server(int port, Answer answer) : answer_(answer), listener_(listen_on(port)), buffer_(kReadSize, '\0') {
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
      Client client{Fd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)), {}, 0};
      if (!client.socket.valid()) return;
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
    const std::string_view heard(buffer_.data(), static_cast<std::size_t>(received));
    if (answer_ == Answer::kEcho) return reply(index, client, heard);
    const std::string answers = http_answers(client, heard);
    return answers.empty() || reply(index, client, answers);
  }

  // False when the connection is over.
  bool reply(std::uint64_t index, Client& client, std::string_view bytes) {
    const ssize_t sent = send(client.socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return false;
    const std::size_t gone = sent < 0 ? 0 : static_cast<std::size_t>(sent);
    if (gone == bytes.size()) return true;
    client.unsent = bytes.substr(gone);
    poller_.change(client.socket, EPOLLOUT, index);
    return true;
  }

  static std::string http_answers(Client& client, std::string_view heard) {
    std::string answers;
    for (const char byte : heard) {
      // CR LF CR LF has no other place for a CR than the two that it has, so a mismatch starts over with this byte
      // alone.
      client.ended = byte == kHeadEnd[client.ended] ? client.ended + 1 : byte == kHeadEnd[0] ? 1 : 0;
      if (client.ended < kHeadEnd.size()) continue;
      client.ended = 0;
      answers += kHttpAnswer;
    }
    return answers;
  }

  Answer answer_;
  Fd listener_;
  Poller poller_;
  std::string buffer_;
  std::unordered_map<std::uint64_t, Client> clients_;
  std::uint64_t next_index_ = 0;
};

}  // namespace

void serve(int port, Answer answer) {
  Server(port, answer).run();
}

}  // namespace warren::load
