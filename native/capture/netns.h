#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/fd.h"
#include "netns_thread.h"
#include "result.h"

namespace warren::capture {

struct NetnsIdentity {
  Fd fd;
  std::uint64_t dev = 0;
  std::uint64_t ino = 0;
  // 0 where the kernel has no SO_NETNS_COOKIE (before 5.14).
  std::uint64_t cookie = 0;
};

struct InterfaceAddress {
  std::string interface;
  std::string address;
};

// Opens the path and proves that it is a network namespace.
Result<NetnsIdentity> open_netns(NetnsThread& thread, const std::string& path);

// The addresses of the namespace that the calling thread is in.
Result<std::vector<InterfaceAddress>> interface_addresses();

}  // namespace warren::capture
