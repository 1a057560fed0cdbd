#include "engine/net/socket_factory.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>

namespace warren::engine {

namespace {

constexpr int kKeepaliveSeconds = 180;
constexpr int kKeepaliveProbes = 9;
constexpr int kNotSentLow = 256 * 1024;

void set(int fd, int level, int name, int value) {
  setsockopt(fd, level, name, &value, sizeof value);
}

}  // namespace

Netns adoptNetns(int fd) {
  Netns netns;
  if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET) {
    if (errno == 0) errno = EINVAL;
    return netns;
  }
  const Fd own(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  struct stat ours {};
  struct stat theirs {};
  if (!own.valid() || fstat(own.get(), &ours) != 0 || fstat(fd, &theirs) != 0) return netns;
  netns.home = ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
  netns.fd.reset(fcntl(fd, F_DUPFD_CLOEXEC, 3));
  return netns;
}

int SocketFactory::inside(const Netns& netns, int family) {
  const int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  if (netns.home) return socket(family, type, 0);
  if (!home_.valid()) home_.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!home_.valid() || setns(netns.fd.get(), CLONE_NEWNET) != 0) return -1;
  const int fd = socket(family, type, 0);
  const int error = errno;
  if (setns(home_.get(), CLONE_NEWNET) != 0) std::abort();
  errno = error;
  return fd;
}

Fd SocketFactory::open(const Netns& netns, const SocketSpec& spec) {
  Fd fd(inside(netns, spec.family == 4 ? AF_INET : AF_INET6));
  if (!fd.valid()) return fd;
  if (spec.mark != 0) set(fd.get(), SOL_SOCKET, SO_MARK, static_cast<int>(spec.mark));
  if (spec.source.none()) return fd;
  // Without the privilege the bind below decides: it works for addresses of the netns itself and for nothing else.
  if (spec.family == 4) {
    set(fd.get(), IPPROTO_IP, IP_TRANSPARENT, 1);
    set(fd.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
  } else {
    set(fd.get(), IPPROTO_IPV6, IPV6_TRANSPARENT, 1);
    set(fd.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
  }
  Address source = spec.source;
  source.port = 0;
  sockaddr_storage address{};
  const socklen_t length = source.toSockaddr(address);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    const int error = errno;
    fd.reset();
    errno = error;
  }
  return fd;
}

void tuneSocket(int fd) {
  set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, kKeepaliveSeconds);
  set(fd, IPPROTO_TCP, TCP_KEEPINTVL, kKeepaliveSeconds);
  set(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepaliveProbes);
}

void tuneTunnelSocket(int fd) {
  set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, kNotSentLow);
}

void resetOnClose(int fd) {
  const linger now{.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

int socketError(int fd) {
  int error = 0;
  socklen_t length = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
  return error;
}

}  // namespace warren::engine
