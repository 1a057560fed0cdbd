#include "seqpacket_channel.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace warren::capture {

namespace {

constexpr const char* kSocketFailed = "MESH_SOCKET_FAILED";
// The largest message that the protocols over such sockets know has 1024 bytes; a longer one is cut, and refused for
// it.
constexpr std::size_t kLargestMessage = 65'536;
constexpr std::size_t kMostDescriptors = 8;

}  // namespace

Result<std::unique_ptr<SeqpacketChannel>> SeqpacketChannel::connect(const std::string& path,
                                                                    std::function<void(Result<Packet>)> deliver) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return Failure{kSocketFailed, path + " is too long for a unix socket"};
  path.copy(address.sun_path, path.size());
  std::unique_ptr<SeqpacketChannel> channel(new SeqpacketChannel());  // NOLINT(modernize-make-unique): private
  channel->deliver_ = std::move(deliver);
  channel->socket_.reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!channel->socket_.valid()) return system_failure(kSocketFailed, "cannot make a socket", errno);
  if (::connect(channel->socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return system_failure(kSocketFailed, "cannot connect to " + path, errno);
  }
  channel->stop_.reset(::eventfd(0, EFD_CLOEXEC));
  if (!channel->stop_.valid()) return system_failure(kSocketFailed, "cannot make an eventfd", errno);
  // Signals belong to the threads of Node.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  channel->thread_ = std::thread([self = channel.get()] { self->loop(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return channel;
}

SeqpacketChannel::~SeqpacketChannel() {
  if (!thread_.joinable()) return;
  ::eventfd_write(stop_.get(), 1);
  thread_.join();
}

Result<Unit> SeqpacketChannel::send(const std::string& bytes) const {
  if (::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    return system_failure(kSocketFailed, "cannot send", errno);
  }
  return Unit{};
}

void SeqpacketChannel::loop() {
  ::pthread_setname_np(::pthread_self(), "warren-seqpkt");
  std::array<pollfd, 2> waits{{{stop_.get(), POLLIN, 0}, {socket_.get(), POLLIN, 0}}};
  for (;;) {
    if (::poll(waits.data(), waits.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return deliver_(system_failure(kSocketFailed, "cannot wait for messages", errno));
    }
    if ((waits[0].revents & POLLIN) != 0) return;
    if (waits[1].revents == 0) continue;
    auto packet = receive();
    const bool last = !packet.ok();
    deliver_(std::move(packet));
    if (last) return;
  }
}

Result<Packet> SeqpacketChannel::receive() const {
  Packet packet;
  packet.bytes.resize(kLargestMessage);
  iovec part{packet.bytes.data(), packet.bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMostDescriptors * sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t size = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
  if (size < 0) return system_failure(kSocketFailed, "cannot receive", errno);
  // Taken before anything is judged, so that none of them is left open.
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t index = 0; index < count; index++) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + index * sizeof(int), sizeof fd);
      packet.descriptors.emplace_back(fd);
    }
  }
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    return Failure{kSocketFailed, "a message was longer, or had more descriptors, than any may have"};
  }
  // unix(7): an empty read is the end here, because no message of these protocols is empty.
  if (size == 0) return Failure{kSocketFailed, "the peer ended the connection"};
  packet.bytes.resize(static_cast<std::size_t>(size));
  return packet;
}

}  // namespace warren::capture
