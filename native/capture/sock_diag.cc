#include "sock_diag.h"

#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>

#include "base/fd.h"

namespace warren::capture {

namespace {

constexpr const char* kDiagFailed = "MESH_SOCKET_FAILED";
// INET_DIAG_CGROUP_ID (Linux 5.9); older headers don't name it.
constexpr std::uint16_t kCgroupId = 21;
// A bound UDP socket that isn't connected.
constexpr std::uint8_t kUdpUnconnected = TCP_CLOSE;
constexpr std::uint32_t kStates =
    1U << TCP_ESTABLISHED | 1U << TCP_CLOSE_WAIT | 1U << TCP_FIN_WAIT2 | 1U << TCP_LISTEN | 1U << TCP_CLOSE;

using Socket = std::unique_ptr<mnl_socket, int (*)(mnl_socket*)>;

Socket open_diag() {
  Socket socket(::mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC), ::mnl_socket_close);
  if (socket && ::mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0) socket.reset();
  return socket;
}

// What a row needs besides its message: the cgroup that counts as ours.
struct Row {
  DiagnosedSocket socket;
  std::uint64_t cgroup = 0;
  inet_diag_sockid id{};
  std::uint8_t family = 0;
};

std::uint64_t cookie_of(const inet_diag_sockid& id) {
  return static_cast<std::uint64_t>(id.idiag_cookie[1]) << 32U | id.idiag_cookie[0];
}

IpEndpoint endpoint(std::uint8_t family, const __be32 (&address)[4], std::uint16_t port_be) {
  sockaddr_storage storage{};
  if (family == AF_INET) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
    v4->sin_family = AF_INET;
    v4->sin_port = port_be;
    v4->sin_addr.s_addr = address[0];
  } else {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = port_be;
    std::memcpy(&v6->sin6_addr, &address, sizeof(v6->sin6_addr));
  }
  // The family is one of the two that it can fail for.
  return IpEndpoint::from_sockaddr(storage).value();
}

int read_attribute(const nlattr* attribute, void* data) {
  auto* row = static_cast<Row*>(data);
  const std::uint16_t type = ::mnl_attr_get_type(attribute);
  if (type == INET_DIAG_MARK && ::mnl_attr_get_payload_len(attribute) == sizeof(std::uint32_t)) {
    row->socket.mark = ::mnl_attr_get_u32(attribute);
  } else if (type == kCgroupId && ::mnl_attr_get_payload_len(attribute) == sizeof(std::uint64_t)) {
    row->cgroup = ::mnl_attr_get_u64(attribute);
  }
  return MNL_CB_OK;
}

struct Dump {
  DiagnosedSocket::Protocol protocol;
  std::vector<Row>* rows;
};

int read_row(const nlmsghdr* header, void* data) {
  const auto* dump = static_cast<const Dump*>(data);
  const auto* message = static_cast<const inet_diag_msg*>(::mnl_nlmsg_get_payload(header));
  if (header->nlmsg_len < NLMSG_LENGTH(sizeof(*message))) return MNL_CB_OK;
  const bool udp = dump->protocol == DiagnosedSocket::Protocol::kUdp;
  // A TCP socket in this state is nobody's connection.
  if (!udp && message->idiag_state == TCP_CLOSE) return MNL_CB_OK;
  const bool listening = message->idiag_state == (udp ? kUdpUnconnected : std::uint8_t{TCP_LISTEN});
  Row row{
      .socket = {.protocol = dump->protocol,
                 .state = listening ? DiagnosedSocket::State::kListening : DiagnosedSocket::State::kOpen,
                 .local = endpoint(message->idiag_family, message->id.idiag_src, message->id.idiag_sport),
                 .remote = endpoint(message->idiag_family, message->id.idiag_dst, message->id.idiag_dport),
                 .mark = 0,
                 .cookie = cookie_of(message->id),
                 .own = false},
      .id = message->id,
      .family = message->idiag_family,
  };
  ::mnl_attr_parse(header, sizeof(*message), read_attribute, &row);
  dump->rows->push_back(row);
  return MNL_CB_OK;
}

inet_diag_req_v2* put_request(nlmsghdr* header, std::uint16_t type, std::uint16_t flags) {
  header->nlmsg_type = type;
  header->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
  header->nlmsg_seq = 1;
  return static_cast<inet_diag_req_v2*>(::mnl_nlmsg_put_extra_header(header, sizeof(inet_diag_req_v2)));
}

// Reads answers until the kernel ends the dump or acknowledges. Returns 0 or its errno.
int receive(mnl_socket* socket, mnl_cb_t row, void* data) {
  alignas(nlmsghdr) std::array<char, 32768> answer{};
  const unsigned port = ::mnl_socket_get_portid(socket);
  for (;;) {
    const ssize_t length = ::mnl_socket_recvfrom(socket, answer.data(), answer.size());
    if (length < 0) return errno;
    const int next = ::mnl_cb_run(answer.data(), static_cast<std::size_t>(length), 1, port, row, data);
    if (next < 0) return errno;
    if (next == MNL_CB_STOP) return 0;
  }
}

int dump_sockets(mnl_socket* socket, std::uint8_t family, DiagnosedSocket::Protocol protocol, std::vector<Row>& rows) {
  alignas(nlmsghdr) std::array<char, 256> buffer{};
  nlmsghdr* header = ::mnl_nlmsg_put_header(buffer.data());
  inet_diag_req_v2* request = put_request(header, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP);
  request->sdiag_family = family;
  request->sdiag_protocol = protocol == DiagnosedSocket::Protocol::kTcp ? IPPROTO_TCP : IPPROTO_UDP;
  request->idiag_states = kStates;
  if (::mnl_socket_sendto(socket, header, header->nlmsg_len) < 0) return errno;
  Dump dump{.protocol = protocol, .rows = &rows};
  return receive(socket, read_row, &dump);
}

// The cgroup of this process as the kernel writes it beside sockets: learned from a socket of our own, because paths
// under /proc say something else in a cgroup namespace. Listening, so that it is in the dump.
Result<Fd> own_socket(std::uint64_t& cookie) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in loopback{};
  loopback.sin_family = AF_INET;
  loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(cookie);
  if (!socket.valid() || ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&loopback), sizeof(loopback)) != 0 ||
      ::listen(socket.get(), 1) != 0 || ::getsockopt(socket.get(), SOL_SOCKET, SO_COOKIE, &cookie, &size) != 0) {
    return system_failure(kDiagFailed, "cannot tell this process's sockets from others", errno);
  }
  return socket;
}

Result<std::vector<Row>> all_rows() {
  const Socket socket = open_diag();
  if (!socket) return system_failure(kDiagFailed, "cannot ask the kernel about sockets", errno);
  std::vector<Row> rows;
  for (const std::uint8_t family : {AF_INET, AF_INET6}) {
    for (const auto protocol : {DiagnosedSocket::Protocol::kTcp, DiagnosedSocket::Protocol::kUdp}) {
      const int error = dump_sockets(socket.get(), family, protocol, rows);
      // Without the family or the protocol's module there are no such sockets to list.
      if (error != 0 && error != ENOENT && error != EAFNOSUPPORT) {
        return system_failure(kDiagFailed, "cannot list sockets", error);
      }
    }
  }
  return rows;
}

int destroy(mnl_socket* socket, const Row& row) {
  alignas(nlmsghdr) std::array<char, 256> buffer{};
  nlmsghdr* header = ::mnl_nlmsg_put_header(buffer.data());
  inet_diag_req_v2* request = put_request(header, SOCK_DESTROY, NLM_F_ACK);
  request->sdiag_family = row.family;
  request->sdiag_protocol = IPPROTO_TCP;
  request->idiag_states = kStates;
  request->id = row.id;
  if (::mnl_socket_sendto(socket, header, header->nlmsg_len) < 0) return errno;
  return receive(socket, nullptr, nullptr);
}

}  // namespace

Result<std::vector<DiagnosedSocket>> diagnose_sockets() {
  std::uint64_t own_cookie = 0;
  auto own = own_socket(own_cookie);
  if (!own.ok()) return own.failure();
  auto rows = all_rows();
  if (!rows.ok()) return rows.failure();
  std::uint64_t own_cgroup = 0;
  for (const Row& row : rows.value()) {
    if (row.socket.cookie == own_cookie) own_cgroup = row.cgroup;
  }
  std::vector<DiagnosedSocket> sockets;
  for (Row& row : rows.value()) {
    if (row.socket.cookie == own_cookie) continue;
    row.socket.own = own_cgroup != 0 && row.cgroup == own_cgroup;
    sockets.push_back(row.socket);
  }
  return sockets;
}

Result<std::uint32_t> destroy_sockets(const std::vector<std::uint64_t>& cookies) {
  auto rows = all_rows();
  if (!rows.ok()) return rows.failure();
  const Socket socket = open_diag();
  if (!socket) return system_failure(kDiagFailed, "cannot ask the kernel to close sockets", errno);
  std::uint32_t destroyed = 0;
  for (const Row& row : rows.value()) {
    const bool open =
        row.socket.protocol == DiagnosedSocket::Protocol::kTcp && row.socket.state == DiagnosedSocket::State::kOpen;
    if (!open || std::find(cookies.begin(), cookies.end(), row.socket.cookie) == cookies.end()) continue;
    const int error = destroy(socket.get(), row);
    if (error == 0) destroyed++;
    if (error != 0 && error != ENOENT) {
      const char* what = error == EOPNOTSUPP ? "this kernel closes no sockets of others (CONFIG_INET_DIAG_DESTROY)"
                                             : "cannot close a connection";
      return system_failure(kDiagFailed, what, error);
    }
  }
  return destroyed;
}

}  // namespace warren::capture
