#include "bpf_link.h"

#include <bpf/bpf.h>
#include <unistd.h>

#include <cerrno>

#include "bpf_object.h"

namespace warren::capture {

namespace {

Result<std::uint64_t> target_of(const Fd& link) {
  bpf_link_info info{};
  std::uint32_t size = sizeof info;
  if (const int error = ::bpf_obj_get_info_by_fd(link.get(), &info, &size); error != 0) {
    return system_failure(kBpfFailed, "cannot read a link", -error);
  }
  return info.type == BPF_LINK_TYPE_NETNS ? std::uint64_t{info.netns.netns_ino} : info.cgroup.cgroup_id;
}

}  // namespace

Result<std::uint64_t> link_target_id(const std::string& pin) {
  const Fd link(::bpf_obj_get(pin.c_str()));
  if (!link.valid()) return system_failure(kBpfFailed, "cannot open " + pin, errno);
  return target_of(link);
}

Result<Unit> detach_link(const std::string& pin) {
  const Fd link(::bpf_obj_get(pin.c_str()));
  if (!link.valid()) {
    if (errno == ENOENT) return Unit{};
    return system_failure(kBpfFailed, "cannot open " + pin, errno);
  }
  if (const int error = ::bpf_link_detach(link.get()); error != 0) {
    return system_failure(kBpfFailed, "cannot detach the program of " + pin, -error);
  }
  return Unit{};
}

Result<Fd> attach_or_adopt(const std::string& pin, int program_fd, const LinkTarget& target) {
  if (Fd link(::bpf_obj_get(pin.c_str())); link.valid()) {
    auto attached = target_of(link);
    if (attached.ok() && attached.value() == target.id && ::bpf_link_update(link.get(), program_fd, nullptr) == 0) {
      return link;
    }
  }
  Fd link(::bpf_link_create(program_fd, target.fd, target.type, nullptr));
  if (!link.valid()) return system_failure(kBpfFailed, "cannot attach the program of " + pin, errno);
  // Only now does the old pin go: in between both programs are attached, which does no harm, and never none.
  ::unlink(pin.c_str());
  if (const int error = ::bpf_obj_pin(link.get(), pin.c_str()); error != 0) {
    return system_failure(kBpfFailed, "cannot pin " + pin, -error);
  }
  return link;
}

}  // namespace warren::capture
