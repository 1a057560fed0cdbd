#include "probe_socket.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <memory>

#include "pod_socket.h"

namespace warren::capture {

namespace {

constexpr const char* kProbeFailed = "MESH_PROBE_FAILED";

struct ChildReport {
  int fd;
  int error;
  const char* step;
};

// Runs in the child, which shares the descriptor table and nothing else, and is a fork of one thread of many: system
// calls only. The child moves itself, because a child cloned straight into another cgroup (CLONE_INTO_CGROUP) is killed
// at birth on kernels that compare its parent's cgroup.kill count with the target's: every agent whose own cgroup was
// killed once, which is how a container runtime ends one.
void open_and_connect(const ProbeRequest& request, int cgroup_procs, const IpEndpoint& destination,
                      const IpEndpoint* source, ChildReport* report) {
  report->step = "move into its cgroup";
  if (::write(cgroup_procs, "0", 1) != 1) {
    report->error = errno;
    return;
  }
  const int domain = socket_domain(request.family);
  const int one = 1;
  report->step = "socket";
  report->fd = ::socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
  if (report->fd < 0) {
    report->error = errno;
    return;
  }
  if (source != nullptr) {
    const int level = request.family == Family::kV4 ? IPPROTO_IP : IPPROTO_IPV6;
    const int name = request.family == Family::kV4 ? IP_TRANSPARENT : IPV6_TRANSPARENT;
    report->step = "bind";
    if (::setsockopt(report->fd, level, name, &one, sizeof one) != 0 ||
        ::setsockopt(report->fd, SOL_SOCKET, SO_MARK, &request.mark, sizeof request.mark) != 0 ||
        ::bind(report->fd, source->data(), source->size()) != 0) {
      report->error = errno;
      return;
    }
  }
  report->step = "connect";
  if (::connect(report->fd, destination.data(), destination.size()) != 0 && errno != EINPROGRESS) {
    report->error = errno;
  }
}

}  // namespace

Result<Fd> probe_here(const ProbeRequest& request) {
  auto destination = IpEndpoint::parse(request.destination, request.port);
  if (!destination.ok()) return destination.failure();
  std::optional<IpEndpoint> source;
  if (request.source_address) {
    auto parsed = IpEndpoint::parse(*request.source_address, 0);
    if (!parsed.ok()) return parsed.failure();
    source = parsed.value();
  }
  const Fd cgroup(::open((request.cgroup + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
  if (!cgroup.valid()) return system_failure("MESH_CGROUP_UNUSABLE", "cannot open cgroup " + request.cgroup, errno);
  void* const shared = ::mmap(nullptr, sizeof(ChildReport), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return system_failure(kProbeFailed, "cannot share memory with the probe", errno);
  const auto unmap = [](ChildReport* mapped) { ::munmap(mapped, sizeof(ChildReport)); };
  const std::unique_ptr<ChildReport, decltype(unmap)> report(new (shared) ChildReport{-1, 0, "start"}, unmap);
  clone_args arguments{};
  // No exit signal: libuv would look for a child of its own.
  arguments.flags = CLONE_FILES;
  const long child = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (child < 0) return system_failure(kProbeFailed, "cannot start the probe", errno);
  if (child == 0) {
    open_and_connect(request, cgroup.get(), destination.value(), source ? &*source : nullptr, report.get());
    ::_exit(0);
  }
  int status = 0;
  while (::waitpid(static_cast<pid_t>(child), &status, __WCLONE) < 0 && errno == EINTR) {
  }
  Fd socket(report->fd);
  if (report->error != 0 || !socket.valid()) {
    return system_failure(kProbeFailed, std::string("the probe's ") + report->step + " failed", report->error);
  }
  return socket;
}

}  // namespace warren::capture
