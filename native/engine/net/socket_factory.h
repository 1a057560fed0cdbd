#pragma once

#include <cstdint>

#include "base/fd.h"
#include "engine/base/address.h"

namespace warren::engine {

// A network namespace that sockets are opened in. `home` says that it is the one that the process itself is in.
struct Netns {
  Fd fd;
  bool home = false;
};

// Duplicates `fd`; invalid unless it is a network namespace. errno says why.
Netns adoptNetns(int fd);

struct SocketSpec {
  uint8_t family = 4;
  uint32_t mark = 0;
  Address source;  // family 0: the netns's own
};

// Opens sockets inside pods' netns for one worker thread, by moving the thread there around socket(2) alone. A thread
// that could not come back would put the next pod's sockets into the wrong netns, so then the process is aborted.
class SocketFactory {
 public:
  // A non-blocking TCP socket; invalid with errno set.
  Fd open(const Netns& netns, const SocketSpec& spec);
  // Gives the descriptor of the thread's own netns up.
  void close() { home_.reset(); }

 private:
  int inside(const Netns& netns, int family);
  Fd home_;
};

// What every application socket gets: no Nagle delay, and keepalive probes that find vanished peers (180 s, 180 s, 9
// probes).
void tuneSocket(int fd);
// Keeps the kernel from queueing more than a little unsent data, so that a small request does not wait behind a bulk
// transfer's backlog.
void tuneTunnelSocket(int fd);
// Makes close(2) a reset.
void resetOnClose(int fd);
// The pending error of a socket, 0 for none.
int socketError(int fd);

}  // namespace warren::engine
