#include "kernel_support.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/utsname.h>

#include "bpf_object.h"

namespace warren::capture {

KernelSupport probe_kernel() {
  KernelSupport support;
  utsname name{};
  if (::uname(&name) == 0) support.release = name.release;
  const LibbpfWarnings silence;
  auto& missing = support.ebpf_missing;
  const auto need_program = [&missing](bpf_prog_type type, const char* what) {
    if (::libbpf_probe_bpf_prog_type(type, nullptr) != 1) missing.emplace_back(what);
  };
  const auto need_helper = [&missing](bpf_prog_type type, bpf_func_id helper, const char* what) {
    if (::libbpf_probe_bpf_helper(type, helper, nullptr) != 1) missing.emplace_back(what);
  };
  need_program(BPF_PROG_TYPE_SK_LOOKUP, "sk_lookup programs (Linux 5.9)");
  need_program(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "connect programs on cgroups");
  need_program(BPF_PROG_TYPE_SOCK_OPS, "sockops programs on cgroups");
  if (!missing.empty()) return support;
  need_helper(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_FUNC_get_netns_cookie, "the netns cookie in connect programs");
  need_helper(BPF_PROG_TYPE_SOCK_OPS, BPF_FUNC_get_netns_cookie, "the netns cookie in sockops programs (Linux 5.15)");
  need_helper(BPF_PROG_TYPE_SOCK_OPS, BPF_FUNC_sk_storage_get, "socket storage in sockops programs");
  need_helper(BPF_PROG_TYPE_SK_LOOKUP, BPF_FUNC_sk_assign, "socket assignment in sk_lookup programs");
  if (::libbpf_probe_bpf_map_type(BPF_MAP_TYPE_SK_STORAGE, nullptr) != 1) missing.emplace_back("socket storage maps");
  if (::libbpf_probe_bpf_map_type(BPF_MAP_TYPE_SOCKHASH, nullptr) != 1) missing.emplace_back("socket hash maps");
  if (::libbpf_probe_bpf_map_type(BPF_MAP_TYPE_RINGBUF, nullptr) != 1) missing.emplace_back("ring buffers");
  return support;
}

}  // namespace warren::capture
