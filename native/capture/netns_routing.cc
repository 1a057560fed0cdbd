#include "netns_routing.h"

#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/mount.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include "base/fd.h"

namespace warren::capture {

namespace {

constexpr const char* kRoutingFailed = "MESH_ROUTING_FAILED";
// The first interface of every network namespace.
constexpr std::uint32_t kLoopbackIndex = 1;

using Message = std::array<char, 512>;

// One netlink request and its acknowledgement. Returns 0 or the errno that the kernel answered.
int request(nlmsghdr* header) {
  const std::unique_ptr<mnl_socket, int (*)(mnl_socket*)> socket(::mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC),
                                                                 ::mnl_socket_close);
  if (!socket || ::mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0) return errno;
  header->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
  header->nlmsg_seq = 1;
  if (::mnl_socket_sendto(socket.get(), header, header->nlmsg_len) < 0) return errno;
  std::array<char, 8192> answer{};
  const ssize_t length = ::mnl_socket_recvfrom(socket.get(), answer.data(), answer.size());
  if (length < 0) return errno;
  const unsigned port = ::mnl_socket_get_portid(socket.get());
  return ::mnl_cb_run(answer.data(), static_cast<std::size_t>(length), 1, port, nullptr, nullptr) < 0 ? errno : 0;
}

int change_rule(const DeliveryRouting& routing, Family family, std::uint16_t type, std::uint16_t flags) {
  alignas(nlmsghdr) Message buffer{};
  nlmsghdr* header = ::mnl_nlmsg_put_header(buffer.data());
  header->nlmsg_type = type;
  header->nlmsg_flags = flags;
  auto* rule = static_cast<fib_rule_hdr*>(::mnl_nlmsg_put_extra_header(header, sizeof(fib_rule_hdr)));
  rule->family = static_cast<std::uint8_t>(socket_domain(family));
  rule->action = FR_ACT_TO_TBL;
  rule->table = RT_TABLE_UNSPEC;
  ::mnl_attr_put_u32(header, FRA_TABLE, routing.table);
  ::mnl_attr_put_u32(header, FRA_PRIORITY, routing.priority);
  ::mnl_attr_put_u32(header, FRA_FWMARK, routing.mark);
  ::mnl_attr_put_u32(header, FRA_FWMASK, routing.mask);
  return request(header);
}

// local default dev lo table <table>
int change_route(const DeliveryRouting& routing, Family family, std::uint16_t type, std::uint16_t flags) {
  alignas(nlmsghdr) Message buffer{};
  nlmsghdr* header = ::mnl_nlmsg_put_header(buffer.data());
  header->nlmsg_type = type;
  header->nlmsg_flags = flags;
  auto* route = static_cast<rtmsg*>(::mnl_nlmsg_put_extra_header(header, sizeof(rtmsg)));
  route->rtm_family = static_cast<std::uint8_t>(socket_domain(family));
  route->rtm_table = RT_TABLE_UNSPEC;
  route->rtm_protocol = RTPROT_STATIC;
  route->rtm_scope = family == Family::kV4 ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
  route->rtm_type = RTN_LOCAL;
  ::mnl_attr_put_u32(header, RTA_TABLE, routing.table);
  ::mnl_attr_put_u32(header, RTA_OIF, kLoopbackIndex);
  return request(header);
}

// Sysctls of the pod's netns: /proc/sys/net follows the thread that opens it. A connection answers with the mark of its
// SYN, and so does a refusal; without the second a delivery to a closed port would wait for a RST that went to the
// client.
struct Sysctl {
  const char* path;
  Family family;
};
constexpr Sysctl kSysctls[] = {
    {"sys/net/ipv4/tcp_fwmark_accept", Family::kV4},
    {"sys/net/ipv4/fwmark_reflect", Family::kV4},
    {"sys/net/ipv6/fwmark_reflect", Family::kV6},
};

// A proc file system that is mounted nowhere (fsmount(2), Linux 5.2).
Fd detached_proc() {
  const Fd context(::fsopen("proc", FSOPEN_CLOEXEC));
  if (!context.valid() || ::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) return Fd();
  return Fd(::fsmount(context.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
}

// Container runtimes mount /proc/sys read-only for all but privileged containers; who may enter a pod's netns may also
// change its sysctls, by a proc of one's own.
Fd open_sysctl(const char* path) {
  Fd file(::open((std::string("/proc/") + path).c_str(), O_WRONLY | O_CLOEXEC));
  if (file.valid() || errno != EROFS) return file;
  const Fd proc = detached_proc();
  if (!proc.valid()) return Fd();
  return Fd(::openat(proc.get(), path, O_WRONLY | O_CLOEXEC));
}

Result<Unit> answer_with_mark(bool on, const std::vector<Family>& families) {
  for (const Sysctl& sysctl : kSysctls) {
    // tcp_fwmark_accept stands below ipv4 and is for both.
    const bool wanted =
        sysctl.family == Family::kV4 || std::find(families.begin(), families.end(), Family::kV6) != families.end();
    if (!wanted) continue;
    const Fd file = open_sysctl(sysctl.path);
    if (!file.valid() && !on && errno == ENOENT) continue;
    if (!file.valid() || ::write(file.get(), on ? "1" : "0", 1) != 1) {
      return system_failure(kRoutingFailed, std::string("cannot set /proc/") + sysctl.path + " in the pod's netns",
                            errno);
    }
  }
  return Unit{};
}

}  // namespace

Result<Unit> add_delivery_routing(const DeliveryRouting& routing) {
  for (const Family family : routing.families) {
    if (const int error = change_route(routing, family, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE); error != 0) {
      return system_failure(kRoutingFailed, "cannot add the local route for deliveries", error);
    }
    const int error = change_rule(routing, family, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL);
    if (error != 0 && error != EEXIST) {
      return system_failure(kRoutingFailed, "cannot add the rule for deliveries", error);
    }
  }
  return answer_with_mark(true, routing.families);
}

Result<Unit> remove_delivery_routing(const DeliveryRouting& routing) {
  for (const Family family : routing.families) {
    if (const int error = change_rule(routing, family, RTM_DELRULE, 0);
        error != 0 && error != ENOENT && error != EAFNOSUPPORT) {
      return system_failure(kRoutingFailed, "cannot remove the rule for deliveries", error);
    }
    if (const int error = change_route(routing, family, RTM_DELROUTE, 0);
        error != 0 && error != ESRCH && error != ENOENT && error != EAFNOSUPPORT) {
      return system_failure(kRoutingFailed, "cannot remove the local route for deliveries", error);
    }
  }
  return answer_with_mark(false, routing.families);
}

}  // namespace warren::capture
