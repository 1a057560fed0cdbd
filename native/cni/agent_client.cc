#include "agent_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <string_view>

#include "base/fd.h"

namespace warren::cni {

namespace {

using Clock = std::chrono::steady_clock;

// An answer is a line of text; more than this is not the agent.
constexpr std::size_t kLongestAnswer = 65'536;

class Connection {
 public:
  Connection(std::string path, std::uint32_t timeout_ms)
      : path_(std::move(path)),
        deadline_(Clock::now() + std::chrono::milliseconds(timeout_ms)),
        limit_ms_(timeout_ms) {}

  // True, or false with `why` set.
  bool open() {
    fd_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd_.valid()) return failed("cannot make a socket");
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    // EAGAIN: the backlog is full (unix(7)); an agent that does not accept is asked again until the time is over.
    while (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      if (errno != EAGAIN && errno != EINTR) return failed("cannot reach the agent at " + path_);
      if (left_ms() <= 0) return late();
      ::poll(nullptr, 0, 20);
    }
    return true;
  }

  bool send(const std::string& text) {
    std::size_t sent = 0;
    while (sent < text.size()) {
      const ssize_t count = ::send(fd_.get(), text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
      if (count >= 0) {
        sent += static_cast<std::size_t>(count);
      } else if (errno == EAGAIN || errno == EINTR) {
        if (!wait(POLLOUT)) return false;
      } else {
        return failed("the agent ended the connection");
      }
    }
    return true;
  }

  bool receive_line(std::string& line) {
    char buffer[4096];
    for (;;) {
      const ssize_t count = ::recv(fd_.get(), buffer, sizeof buffer, 0);
      if (count == 0) {
        why = "the agent ended the connection without an answer; it may be stopping";
        return false;
      }
      if (count > 0) {
        const std::string_view part(buffer, static_cast<std::size_t>(count));
        line.append(part.substr(0, part.find('\n')));
        if (part.find('\n') != std::string_view::npos) return true;
        if (line.size() > kLongestAnswer) {
          why = "what listens at " + path_ + " is not the agent";
          return false;
        }
      } else if (errno != EAGAIN && errno != EINTR) {
        return failed("the agent ended the connection");
      } else if (!wait(POLLIN)) {
        return false;
      }
    }
  }

  std::string why;

 private:
  [[nodiscard]] int left_ms() const {
    return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - Clock::now()).count());
  }

  bool wait(short events) {
    pollfd waited{fd_.get(), events, 0};
    const int left = left_ms();
    if (left <= 0 || ::poll(&waited, 1, left) == 0) return late();
    return true;
  }

  bool late() {
    why = "the agent did not answer within " + std::to_string(limit_ms_) + " ms";
    return false;
  }

  bool failed(const std::string& what) {
    why = what + ": " + std::strerror(errno);
    return false;
  }

  std::string path_;
  Clock::time_point deadline_;
  std::uint32_t limit_ms_;
  Fd fd_;
};

}  // namespace

std::variant<std::string, NoAnswer> ask_agent(const std::string& socket_path, const std::string& question,
                                              std::uint32_t timeout_ms) {
  Connection connection(socket_path, timeout_ms);
  std::string line;
  if (!connection.open() || !connection.send(question + "\n") || !connection.receive_line(line)) {
    return NoAnswer{connection.why};
  }
  return line;
}

}  // namespace warren::cni
