#include "netns.h"

#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "ip_address.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

namespace warren::capture {

Result<NetnsIdentity> open_netns(NetnsThread& thread, const std::string& path) {
  NetnsIdentity netns;
  netns.fd.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!netns.fd.valid()) return system_failure("MESH_NETNS_UNUSABLE", "cannot open " + path, errno);
  if (::ioctl(netns.fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET) {
    return Failure{"MESH_NETNS_UNUSABLE", path + " is not a network namespace"};
  }
  struct stat status {};
  if (::fstat(netns.fd.get(), &status) != 0) return system_failure("MESH_NETNS_UNUSABLE", "cannot stat " + path, errno);
  netns.dev = status.st_dev;
  netns.ino = status.st_ino;
  Result<std::uint64_t> cookie = std::uint64_t{0};
  thread.run([&] {
    cookie = thread.inside<std::uint64_t>(netns.fd.get(), []() -> Result<std::uint64_t> {
      const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      if (!socket.valid()) return system_failure("MESH_NETNS_UNUSABLE", "cannot open a socket in the netns", errno);
      std::uint64_t value = 0;
      socklen_t size = sizeof value;
      if (::getsockopt(socket.get(), SOL_SOCKET, SO_NETNS_COOKIE, &value, &size) != 0) return std::uint64_t{0};
      return value;
    });
  });
  if (!cookie.ok()) return cookie.failure();
  netns.cookie = cookie.value();
  return netns;
}

Result<std::vector<InterfaceAddress>> interface_addresses() {
  ifaddrs* first = nullptr;
  // glibc asks by RTM_GETADDR on a netlink socket of the calling thread's namespace.
  if (::getifaddrs(&first) != 0) return system_failure("MESH_NETNS_UNUSABLE", "cannot list addresses", errno);
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> list(first, ::freeifaddrs);
  std::vector<InterfaceAddress> addresses;
  for (const ifaddrs* entry = list.get(); entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr) continue;
    const int domain = entry->ifa_addr->sa_family;
    if (domain != AF_INET && domain != AF_INET6) continue;
    sockaddr_storage storage{};
    std::memcpy(&storage, entry->ifa_addr, domain == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
    auto endpoint = IpEndpoint::from_sockaddr(storage);
    if (endpoint.ok()) addresses.push_back({entry->ifa_name, endpoint.value().address()});
  }
  return addresses;
}

}  // namespace warren::capture
