#include "socket.h"

#include <err.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <memory>

namespace warren::load {

namespace {

constexpr int kExitUsage = 2;
constexpr int kExitFailed = 1;

void set_flag(const Fd& socket, int level, int option, int value) {
  // None of the flags set here can be refused by a TCP socket of this kernel; without them figures change, but nothing
  // breaks.
  static_cast<void>(setsockopt(socket.get(), level, option, &value, sizeof value));
}

}  // namespace

Address parse_address(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) errx(kExitUsage, "%s is not an address with a port", text.c_str());
  std::string host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* raw = nullptr;
  const int error = getaddrinfo(host.c_str(), text.substr(colon + 1).c_str(), &hints, &raw);
  if (error != 0) errx(kExitUsage, "%s: %s", text.c_str(), gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> found(raw, freeaddrinfo);
  Address address;
  address.length = found->ai_addrlen;
  std::copy_n(reinterpret_cast<const char*>(found->ai_addr), found->ai_addrlen,
              reinterpret_cast<char*>(&address.storage));
  return address;
}

Fd listen_on(int port) {
  Fd socket(::socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.valid()) err(kExitFailed, "socket");
  set_flag(socket, SOL_SOCKET, SO_REUSEADDR, 1);
  set_flag(socket, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  sockaddr_in6 any{};
  any.sin6_family = AF_INET6;
  any.sin6_port = htons(static_cast<std::uint16_t>(port));
  if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0)
    err(kExitFailed, "bind to %d", port);
  if (listen(socket.get(), SOMAXCONN) != 0) err(kExitFailed, "listen on %d", port);
  return socket;
}

Fd start_connect(const Address& to) {
  Fd socket(::socket(to.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return socket;
  set_flag(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&to.storage), to.length) != 0 && errno != EINPROGRESS) {
    const int error = errno;
    socket.reset();
    errno = error;
  }
  return socket;
}

int connect_result(const Fd& socket) {
  int error = 0;
  socklen_t length = sizeof error;
  return getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

void enter_netns(const std::string& path) {
  const Fd netns(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!netns.valid()) err(kExitFailed, "%s", path.c_str());
  if (setns(netns.get(), CLONE_NEWNET) != 0) err(kExitFailed, "enter %s", path.c_str());
}

bool send_all(const Fd& socket, std::string_view bytes) {
  return send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  static_cast<void>(setrlimit(RLIMIT_NOFILE, &limit));
}

Poller::Poller() : epoll_(epoll_create1(EPOLL_CLOEXEC)), ready_(256) {
  if (!epoll_.valid()) err(kExitFailed, "epoll_create1");
}

std::span<const epoll_event> Poller::wait_until(Nanoseconds deadline) {
  const Nanoseconds left = std::max<Nanoseconds>(deadline - now(), 0);
  const timespec timeout{.tv_sec = left / kSecond, .tv_nsec = left % kSecond};
  const int count = epoll_pwait2(epoll_.get(), ready_.data(), static_cast<int>(ready_.size()), &timeout, nullptr);
  if (count < 0 && errno != EINTR) err(kExitFailed, "epoll_pwait2");
  return {ready_.data(), static_cast<std::size_t>(std::max(count, 0))};
}

void Poller::control(int operation, const Fd& fd, std::uint32_t events, std::uint64_t index) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = index;
  if (epoll_ctl(epoll_.get(), operation, fd.get(), &event) != 0) err(kExitFailed, "epoll_ctl");
}

}  // namespace warren::load
