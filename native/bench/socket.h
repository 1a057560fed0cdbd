#pragma once

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "clock.h"

namespace warren::load {

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

// `10.0.0.1:80` or `[fd00::1]:80`. Ends the program with a message when it is neither.
Address parse_address(const std::string& text);

// A listening socket for both families on a port. Ends the program when the port cannot be had.
Fd listen_on(int port);

// A non-blocking socket on its way to `to`; not open when the kernel refused at once, with errno set. Nagle's algorithm
// is off.
Fd start_connect(const Address& to);

// What became of a connection attempt: 0 or an errno.
int connect_result(const Fd& socket);

// Enters the network namespace at a path, for all sockets made from then on. Ends the program when it cannot.
void enter_netns(const std::string& path);

// Writes all of it to a socket that has room for it; false when the socket has failed or has no room.
bool send_all(const Fd& socket, std::string_view bytes);

// As many descriptors as the machine allows.
void raise_descriptor_limit();

// An epoll descriptor whose events carry an index of the caller's.
class Poller {
 public:
  Poller();
  void add(const Fd& fd, std::uint32_t events, std::uint64_t index) { control(EPOLL_CTL_ADD, fd, events, index); }
  void change(const Fd& fd, std::uint32_t events, std::uint64_t index) { control(EPOLL_CTL_MOD, fd, events, index); }
  // What is ready, waiting until `deadline` at most; wakes with the precision of the kernel's timers, not of
  // milliseconds.
  std::span<const epoll_event> wait_until(Nanoseconds deadline);

 private:
  void control(int operation, const Fd& fd, std::uint32_t events, std::uint64_t index);

  Fd epoll_;
  std::vector<epoll_event> ready_;
};

}  // namespace warren::load
