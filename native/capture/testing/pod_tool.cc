// What applications do in the pods of capture tests, where Node cannot: enter a cgroup and a netns, connect in unusual
// ways, bind ports that others hold, send raw packets. One command per run; the answer is one line of JSON per event on
// stdout.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "../ip_address.h"
#include "base/fd.h"

namespace {

using warren::Fd;
using warren::capture::Family;
using warren::capture::IpEndpoint;

constexpr int kProtocolMptcp = 262;
constexpr int kTimeoutMs = 20000;

// --name value pairs and bare --flags, then positional arguments.
struct Arguments {
  std::string command;
  std::map<std::string, std::string> options;
  std::vector<std::string> rest;

  [[nodiscard]] bool has(const std::string& name) const { return options.count(name) > 0; }
  [[nodiscard]] std::string get(const std::string& name, const std::string& otherwise = "") const {
    const auto found = options.find(name);
    return found == options.end() ? otherwise : found->second;
  }
};

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; i++) {
    const std::string word = argv[i];
    const std::size_t equals = word.find('=');
    if (word.rfind("--", 0) == 0) {
      arguments.options[word.substr(2, equals == std::string::npos ? equals : equals - 2)] =
          equals == std::string::npos ? "" : word.substr(equals + 1);
    } else if (arguments.command.empty()) {
      arguments.command = word;
    } else {
      arguments.rest.push_back(word);
    }
  }
  return arguments;
}

[[noreturn]] void fail(const char* step) {
  std::printf("{\"ok\":false,\"step\":\"%s\",\"error\":\"%s\"}\n", step, ::strerrorname_np(errno));
  std::exit(0);
}

void enter(const Arguments& arguments) {
  if (arguments.has("cgroup")) {
    const Fd procs(::open((arguments.get("cgroup") + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
    if (!procs.valid() || ::write(procs.get(), "0", 1) != 1) fail("cgroup");
  }
  if (arguments.has("netns")) {
    const Fd netns(::open(arguments.get("netns").c_str(), O_RDONLY | O_CLOEXEC));
    if (!netns.valid() || ::setns(netns.get(), CLONE_NEWNET) != 0) fail("setns");
  }
}

IpEndpoint endpoint(const std::string& address, const std::string& port) {
  auto parsed = IpEndpoint::parse(address, static_cast<std::uint16_t>(std::atoi(port.c_str())));
  if (!parsed.ok()) {
    errno = EINVAL;
    fail("address");
  }
  return parsed.value();
}

using NameFunction = int (*)(int, sockaddr*, socklen_t*);

std::string name_of(const Fd& socket, NameFunction name) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (name(socket.get(), reinterpret_cast<sockaddr*>(&storage), &size) != 0) return "";
  auto parsed = IpEndpoint::from_sockaddr(storage);
  return parsed.ok() ? parsed.value().address() + "|" + std::to_string(parsed.value().port()) : "";
}

// The destination as the sockaddr to connect to: IPv4 in its v4-mapped form when asked for.
sockaddr_storage target_of(const IpEndpoint& destination, bool mapped, socklen_t* size) {
  sockaddr_storage storage{};
  std::memcpy(&storage, destination.data(), destination.size());
  *size = destination.size();
  if (!mapped) return storage;
  std::uint32_t words[4];
  destination.copy_words(words);
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(destination.port());
  v6.sin6_addr.s6_addr[10] = 0xff;
  v6.sin6_addr.s6_addr[11] = 0xff;
  std::memcpy(&v6.sin6_addr.s6_addr[12], words, 4);
  std::memcpy(&storage, &v6, sizeof v6);
  *size = sizeof v6;
  return storage;
}

// A stopped process that goes on finds its call interrupted where the socket has a time limit (signal(7)).
template <typename Call>
auto again(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

bool wait_for(const Fd& socket, short events) {
  pollfd wait{socket.get(), events, 0};
  const int ready = again([&] { return ::poll(&wait, 1, kTimeoutMs); });
  if (ready == 0) errno = ETIMEDOUT;
  return ready == 1;
}

// Whether a connection that is under way came about; otherwise errno says why not.
bool came_about(const Fd& socket) {
  if (!wait_for(socket, POLLOUT)) return false;
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  errno = error;
  return error == 0;
}

void finish_connect(const Fd& socket) {
  if (!came_about(socket)) fail("connect");
}

// `sent` tells whether the data of --send already left with the SYN.
Fd open_connected(const Arguments& arguments, bool* sent = nullptr) {
  const IpEndpoint destination = endpoint(arguments.rest.at(0), arguments.rest.at(1));
  const bool mapped = arguments.has("mapped");
  socklen_t size = 0;
  const sockaddr_storage target = target_of(destination, mapped, &size);
  Fd socket(::socket(target.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                     arguments.has("mptcp") ? kProtocolMptcp : IPPROTO_TCP));
  if (!socket.valid()) fail("socket");
  if (arguments.has("mark")) {
    const int mark = std::stoi(arguments.get("mark"), nullptr, 0);
    if (::setsockopt(socket.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) != 0) fail("mark");
  }
  if (arguments.has("bind")) {
    const IpEndpoint source = endpoint(arguments.get("bind"), arguments.get("bind-port", "0"));
    if (::bind(socket.get(), source.data(), source.size()) != 0) fail("bind");
  }
  if (arguments.has("blocking")) {
    ::fcntl(socket.get(), F_SETFL, 0);
    const timeval timeout{kTimeoutMs / 1000, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  }
  const auto* address = reinterpret_cast<const sockaddr*>(&target);
  if (arguments.has("fastopen") && sent != nullptr) {
    const std::string data = arguments.get("send", "ping\n");
    *sent = ::sendto(socket.get(), data.data(), data.size(), MSG_FASTOPEN, address, size) > 0;
    // Without a cookie of the server the SYN goes alone.
    if (!*sent && errno != EINPROGRESS) fail("connect");
  } else if (::connect(socket.get(), address, size) != 0 && errno != EINPROGRESS && errno != EINTR) {
    fail("connect");
  }
  finish_connect(socket);
  return socket;
}

// Reads one line; empty at the end of the stream.
std::string read_line(const Fd& socket) {
  std::string line;
  char byte = 0;
  for (;;) {
    if (!wait_for(socket, POLLIN)) fail("read");
    const ssize_t count = ::recv(socket.get(), &byte, 1, 0);
    if (count < 0 && errno == EAGAIN) continue;
    if (count < 0) fail("read");
    if (count == 0 || byte == '\n') return line;
    line += byte;
  }
}

// Connects, reads the server's greeting line, sends a line, reads it back.
void run_connect(const Arguments& arguments) {
  bool sent = false;
  const Fd socket = open_connected(arguments, &sent);
  const std::string peer = name_of(socket, ::getpeername);
  const std::string local = name_of(socket, ::getsockname);
  const std::string greeting = read_line(socket);
  const std::string data = arguments.get("send", "ping\n");
  if (!sent && ::send(socket.get(), data.data(), data.size(), MSG_NOSIGNAL) < 0) fail("write");
  const std::string echo = greeting.empty() ? "" : read_line(socket);
  std::printf("{\"ok\":true,\"peer\":\"%s\",\"local\":\"%s\",\"greeting\":\"%s\",\"echo\":\"%s\"}\n", peer.c_str(),
              local.c_str(), greeting.c_str(), echo.c_str());
}

// Connects one socket, dissolves the connection (connect(2): AF_UNSPEC), connects it elsewhere: <address> <port> twice.
void run_reconnect(const Arguments& arguments) {
  const Fd socket = open_connected(arguments);
  read_line(socket);
  const sockaddr nowhere{AF_UNSPEC, {}};
  if (::connect(socket.get(), &nowhere, sizeof nowhere) != 0) fail("dissolve");
  const IpEndpoint destination = endpoint(arguments.rest.at(2), arguments.rest.at(3));
  if (::connect(socket.get(), destination.data(), destination.size()) != 0 && errno != EINPROGRESS) fail("connect");
  finish_connect(socket);
  std::printf("{\"ok\":true,\"peer\":\"%s\",\"greeting\":\"%s\"}\n", name_of(socket, ::getpeername).c_str(),
              read_line(socket).c_str());
}

// Sends one line and closes at once, as a client does that expects no answer.
void run_fire(const Arguments& arguments) {
  Fd socket = open_connected(arguments);
  const std::string data = arguments.get("send", "ping\n");
  if (::send(socket.get(), data.data(), data.size(), MSG_NOSIGNAL) < 0) fail("write");
  socket.reset();
  std::printf("{\"ok\":true}\n");
}

// Keeps a connection: each line from stdin is sent and the answer printed.
void run_hold(const Arguments& arguments) {
  const Fd socket = open_connected(arguments);
  std::printf("{\"ok\":true,\"greeting\":\"%s\"}\n", read_line(socket).c_str());
  std::fflush(stdout);
  char line[256];
  while (std::fgets(line, sizeof line, stdin) != nullptr) {
    if (::send(socket.get(), line, std::strlen(line), MSG_NOSIGNAL) < 0) fail("write");
    std::printf("{\"ok\":true,\"echo\":\"%s\"}\n", read_line(socket).c_str());
    std::fflush(stdout);
  }
}

void serve_connection(Fd socket, const std::string& name) {
  const std::string greeting = name + " sees " + name_of(socket, ::getpeername) + "\n";
  ::send(socket.get(), greeting.data(), greeting.size(), MSG_NOSIGNAL);
  char buffer[4096];
  for (ssize_t count = 0; (count = ::recv(socket.get(), buffer, sizeof buffer, 0)) > 0;) {
    if (::send(socket.get(), buffer, static_cast<std::size_t>(count), MSG_NOSIGNAL) < 0) return;
  }
}

// Greets every client with its own name and the client's address, then echoes.
void run_serve(const Arguments& arguments) {
  const IpEndpoint local = endpoint(arguments.rest.at(0), arguments.rest.at(1));
  const Fd socket(
      ::socket(local.family() == Family::kV4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP));
  const int one = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (local.family() == Family::kV6) ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
  if (arguments.has("reuseport")) ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
  if (arguments.has("fastopen")) {
    const int queue = 16;
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof queue);
  }
  if (::bind(socket.get(), local.data(), local.size()) != 0) fail("bind");
  if (::listen(socket.get(), 1024) != 0) fail("listen");
  std::printf("{\"ok\":true}\n");
  std::fflush(stdout);
  for (;;) {
    Fd accepted(::accept4(socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!accepted.valid()) continue;
    std::thread(serve_connection, std::move(accepted), arguments.get("name", "server")).detach();
  }
}

// Connect, one byte there and back, reset; `count` times. `ends` counts what became of them.
void run_crr(const Arguments& arguments) {
  const int count = std::atoi(arguments.rest.at(2).c_str());
  const IpEndpoint destination = endpoint(arguments.rest.at(0), arguments.rest.at(1));
  std::vector<double> micros;
  std::map<std::string, int> ends;
  for (int i = 0; i < count; i++) {
    const auto begin = std::chrono::steady_clock::now();
    const Fd socket(
        ::socket(destination.family() == Family::kV4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP));
    const timeval timeout{kTimeoutMs / 1000, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    char byte = 'x';
    // connect(2) goes on without whom a signal interrupted; it is not called again.
    const bool connected =
        ::connect(socket.get(), destination.data(), destination.size()) == 0 || (errno == EINTR && came_about(socket));
    const bool ok = connected && again([&] { return ::send(socket.get(), &byte, 1, MSG_NOSIGNAL); }) == 1 &&
                    again([&] { return ::recv(socket.get(), &byte, 1, 0); }) == 1;
    ends[ok ? "ok" : ::strerrorname_np(errno)]++;
    // The name of the server that took it: its greeting's first byte.
    if (ok) ends[std::string("byte ") + byte]++;
    const linger reset{1, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    micros.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
  }
  std::sort(micros.begin(), micros.end());
  std::printf("{\"ok\":true,\"p50\":%.1f,\"p99\":%.1f,\"ends\":{", micros.at(micros.size() / 2),
              micros.at(micros.size() * 99 / 100));
  const char* separator = "";
  for (const auto& [end, times] : ends) {
    std::printf("%s\"%s\":%d", separator, end.c_str(), times);
    separator = ",";
  }
  std::printf("}}\n");
}

// A SYN that no TCP socket made, with a header of its own.
void run_raw_syn(const Arguments& arguments) {
  const IpEndpoint source = endpoint(arguments.rest.at(0), "0");
  const IpEndpoint destination = endpoint(arguments.rest.at(1), "0");
  tcphdr tcp{};
  tcp.th_sport = htons(40000);
  tcp.th_dport = htons(static_cast<std::uint16_t>(std::atoi(arguments.rest.at(2).c_str())));
  tcp.th_off = 5;
  tcp.th_flags = TH_SYN;
  tcp.th_win = htons(1024);
  std::vector<char> packet;
  const auto append = [&packet](const void* data, std::size_t size) {
    const auto* bytes = static_cast<const char*>(data);
    packet.insert(packet.end(), bytes, bytes + size);
  };
  std::uint32_t from[4];
  std::uint32_t to[4];
  source.copy_words(from);
  destination.copy_words(to);
  const bool v4 = source.family() == Family::kV4;
  if (v4) {
    iphdr ip{};
    ip.version = 4;
    ip.ihl = 5;
    ip.ttl = 64;
    ip.protocol = IPPROTO_TCP;
    ip.saddr = from[0];
    ip.daddr = to[0];
    append(&ip, sizeof ip);
  } else {
    ip6_hdr ip{};
    ip.ip6_vfc = 0x60;
    ip.ip6_plen = htons(sizeof tcp);
    ip.ip6_nxt = IPPROTO_TCP;
    ip.ip6_hlim = 64;
    std::memcpy(&ip.ip6_src, from, 16);
    std::memcpy(&ip.ip6_dst, to, 16);
    append(&ip, sizeof ip);
  }
  append(&tcp, sizeof tcp);
  // --protocol: what the socket claims to be; the header says TCP all the same.
  const int protocol = std::atoi(arguments.get("protocol", std::to_string(IPPROTO_RAW)).c_str());
  const Fd socket(::socket(v4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (!socket.valid()) fail("socket");
  const int one = 1;
  if (::setsockopt(socket.get(), v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_HDRINCL : IPV6_HDRINCL, &one, sizeof one) !=
      0) {
    fail("header");
  }
  if (::sendto(socket.get(), packet.data(), packet.size(), 0, destination.data(), destination.size()) < 0) fail("send");
  std::printf("{\"ok\":true}\n");
}

void run_park() {
  std::printf("{\"ok\":true}\n");
  std::fflush(stdout);
  for (;;) ::pause();
}

}  // namespace

int main(int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);
  const Arguments arguments = parse(argc, argv);
  enter(arguments);
  if (arguments.command == "connect") run_connect(arguments);
  if (arguments.command == "reconnect") run_reconnect(arguments);
  if (arguments.command == "fire") run_fire(arguments);
  if (arguments.command == "hold") run_hold(arguments);
  if (arguments.command == "serve") run_serve(arguments);
  if (arguments.command == "crr") run_crr(arguments);
  if (arguments.command == "raw-syn") run_raw_syn(arguments);
  if (arguments.command == "park") run_park();
  return 0;
}
