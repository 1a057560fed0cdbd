#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "bpf_object.h"
#include "ip_address.h"
#include "netns.h"
#include "result.h"
#include "shared.h"

namespace warren::capture {

struct SteeringOptions {
  // On a bpffs. Holds maps/, links/ and pods/.
  std::string directory;
  std::string pods_cgroup;
};

struct PodAttachment {
  std::string pin;
  std::uint64_t netns_ino = 0;
  std::uint64_t cookie = 0;
  std::uint16_t outbound_port = 0;
  std::uint16_t hbone_port = 0;
};

struct PodSteering {
  std::vector<std::string> addresses;
  std::uint16_t outbound_port = 0;
  bool fail_open = false;
  // Absent: the kubelet's exemption holds for every port.
  std::optional<std::vector<std::uint16_t>> probe_ports;
};

enum class ExemptKind : std::uint8_t { kKubelet = WARREN_EXEMPT_KUBELET, kAgent = WARREN_EXEMPT_AGENT };

// The BPF side of capture: programs on the pods' cgroup, one sk_lookup program per pod, and the maps they read. All of
// it is pinned and outlives this object. Map operations may run on any thread; loading and attaching run on the netns
// thread.
class Steering {
 public:
  static Result<std::unique_ptr<Steering>> open(const SteeringOptions& options);

  // False when the kernel refused the raw-socket guard; everything else is there or `open` fails.
  [[nodiscard]] const std::optional<Failure>& guard_failure() const { return guard_failure_; }

  // What of the pods' cgroup is not attached or not pinned any more although it should be, by name; empty when all is
  // well.
  [[nodiscard]] std::vector<std::string> lost_links() const;
  // Attaches and pins anew what somebody took away.
  Result<Unit> repair() { return attach_to_pods_cgroup(); }

  // Attaches the pod's sk_lookup program or puts a new one into the pinned link.
  Result<Unit> attach_pod(const PodAttachment& attachment, int netns_fd) const;
  // The entry of `pods`, by which outbound capture begins, after its addresses; addresses not named are removed.
  Result<Unit> set_pod(std::uint64_t cookie, const PodSteering& pod) const;
  // Outbound capture ends with the entry of `pods`, then the rest goes.
  Result<Unit> delete_pod(std::uint64_t cookie) const;
  // Cookies that have an entry in `pods` or `pod_addrs`.
  [[nodiscard]] std::vector<std::uint64_t> known_cookies() const;
  // From the return of this call on, new connections arrive at this socket.
  Result<Unit> set_listener(std::uint64_t cookie, std::uint32_t role, Family family, int fd) const;
  Result<Unit> exempt(const std::string& cgroup, ExemptKind kind);
  Result<Unit> configure(std::uint64_t host_netns_cookie, std::uint64_t heartbeat_timeout_ns) const;
  Result<Unit> heartbeat() const;
  [[nodiscard]] std::map<std::string, std::uint64_t> counters() const;
  [[nodiscard]] int map_fd(const std::string& name) const { return maps_.fd(name); }

 private:
  Steering(SteeringOptions options, SharedMaps maps) : options_(std::move(options)), maps_(std::move(maps)) {}
  Result<Unit> attach_to_pods_cgroup();
  Result<Unit> attach_guard(int cgroup_fd, std::uint64_t cgroup_id);

  SteeringOptions options_;
  SharedMaps maps_;
  std::map<std::string, Fd> links_;
  std::optional<Failure> guard_failure_;
};

}  // namespace warren::capture
