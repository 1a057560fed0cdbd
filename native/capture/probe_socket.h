#pragma once

#include <optional>
#include <string>

#include "base/fd.h"
#include "ip_address.h"
#include "result.h"

namespace warren::capture {

struct ProbeRequest {
  // The socket belongs to this cgroup, as a pod's would: connect programs follow the socket's creator, not its netns.
  std::string cgroup;
  Family family = Family::kV4;
  std::string destination;
  std::uint16_t port = 0;
  // Given: connect as this stranger (IP_TRANSPARENT), with the mark that brings the answers back.
  std::optional<std::string> source_address;
  std::uint32_t mark = 0;
};

// A non-blocking socket in the calling thread's netns that a short-lived child process in that cgroup opened and began
// to connect.
Result<Fd> probe_here(const ProbeRequest& request);

}  // namespace warren::capture
