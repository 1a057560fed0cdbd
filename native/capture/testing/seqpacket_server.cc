// The other end of a unix SOCK_SEQPACKET connection, for tests: says what it receives and sends what it is told, with a
// netns as descriptor.
//   seqpacket_server <socket>
// prints `listening`, `connected`, `received <hex>`, `gone`; takes `send <hex> [path of a netns]…` and `hang-up`, a
// line each.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

namespace {

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t at = 0; at + 1 < hex.size(); at += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(at, 2), nullptr, 16)));
  }
  return bytes;
}

void say(const std::string& line) {
  std::cout << line << std::endl;
}

void send_message(int peer, std::istringstream& words) {
  std::string hex;
  words >> hex;
  std::string bytes = from_hex(hex);
  std::vector<int> descriptors;
  for (std::string path; words >> path;) descriptors.push_back(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  iovec part{bytes.data(), bytes.size()};
  std::vector<char> control(CMSG_SPACE(descriptors.size() * sizeof(int)));
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size() * sizeof(int));
  }
  if (::sendmsg(peer, &message, MSG_NOSIGNAL) < 0) say(std::string("cannot send: ") + std::strerror(errno));
  for (const int descriptor : descriptors) ::close(descriptor);
}

void receive_message(int& peer) {
  char buffer[4096];
  const ssize_t size = ::recv(peer, buffer, sizeof buffer, 0);
  if (size <= 0) {
    ::close(peer);
    peer = -1;
    return say("gone");
  }
  std::string hex;
  for (ssize_t at = 0; at < size; at++) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(buffer[at]));
    hex += digits;
  }
  say("received " + hex);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const int listener = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
  if (::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener, 8) != 0) {
    say(std::string("cannot listen: ") + std::strerror(errno));
    return 1;
  }
  say("listening");
  int peer = -1;
  std::string typed;
  for (;;) {
    pollfd waits[3] = {
        {STDIN_FILENO, POLLIN, 0}, {listener, static_cast<short>(peer < 0 ? POLLIN : 0), 0}, {peer, POLLIN, 0}};
    if (::poll(waits, 3, -1) < 0) return 1;
    if (waits[2].revents != 0) receive_message(peer);
    if ((waits[1].revents & POLLIN) != 0 && peer < 0) {
      peer = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
      say("connected");
    }
    if (waits[0].revents == 0) continue;
    char buffer[4096];
    const ssize_t size = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (size <= 0) return 0;
    typed.append(buffer, static_cast<std::size_t>(size));
    for (std::size_t end = 0; (end = typed.find('\n')) != std::string::npos; typed.erase(0, end + 1)) {
      std::istringstream words(typed.substr(0, end));
      std::string command;
      words >> command;
      if (command == "send") send_message(peer, words);
      if (command == "hang-up" && peer >= 0) {
        ::close(peer);
        peer = -1;
      }
    }
  }
}
