#pragma once

#include <string>
#include <vector>

#include "netns_thread.h"

namespace warren::capture {

// What stands in the way of each backend, in words; empty when it is usable. Found by trying, never by version.
struct KernelSupport {
  std::string release;
  std::vector<std::string> ebpf_missing;
};

KernelSupport probe_kernel();

}  // namespace warren::capture
