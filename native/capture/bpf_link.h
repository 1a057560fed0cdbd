#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <string>

#include "base/fd.h"
#include "result.h"

// Pinned BPF links: they hold while no agent runs, and the next agent adopts them by putting its own program in.
namespace warren::capture {

struct LinkTarget {
  int fd = -1;
  // The cgroup's id or the netns's inode, as the link's info names it.
  std::uint64_t id = 0;
  bpf_attach_type type = BPF_CGROUP_INET4_CONNECT;
};

// What a pinned link is attached to: 0 when the cgroup or netns is gone.
Result<std::uint64_t> link_target_id(const std::string& pin);

// The program runs no more when this returns: the last reference's end would only ask the kernel to detach it soon.
Result<Unit> detach_link(const std::string& pin);

// Puts the program into the link pinned at `pin` if that is attached to the same target; else attaches and pins anew.
Result<Fd> attach_or_adopt(const std::string& pin, int program_fd, const LinkTarget& target);

}  // namespace warren::capture
