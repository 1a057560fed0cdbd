#include "steering.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <optional>
#include <set>
#include <utility>

#include "bpf_link.h"
#include "exempt.skel.h"
#include "guard.skel.h"
#include "lookup.skel.h"
#include "steer.skel.h"

namespace warren::capture {

namespace {

constexpr std::uint8_t kPresent = 1;

Failure map_failure(const char* map, int error) {
  return system_failure(kBpfFailed, std::string("cannot change map ") + map, error);
}

// Calls `visit` with each key, read before anything is changed.
template <class Key>
void each_key(int map_fd, const std::function<void(const Key&)>& visit) {
  std::vector<Key> keys;
  Key key{};
  Key next{};
  for (void* from = nullptr; ::bpf_map_get_next_key(map_fd, from, &next) == 0; from = &key) {
    key = next;
    keys.push_back(key);
  }
  for (const Key& found : keys) visit(found);
}

struct OpenCgroup {
  Fd fd;
  std::uint64_t id = 0;
};

Result<OpenCgroup> open_cgroup(const std::string& path) {
  OpenCgroup cgroup;
  cgroup.fd.reset(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat status {};
  struct statfs filesystem {};
  if (!cgroup.fd.valid() || ::fstat(cgroup.fd.get(), &status) != 0 || ::fstatfs(cgroup.fd.get(), &filesystem) != 0) {
    return system_failure("MESH_CGROUP_UNUSABLE", "cannot open cgroup " + path, errno);
  }
  if (filesystem.f_type != CGROUP2_SUPER_MAGIC) {
    return Failure{"MESH_CGROUP_UNUSABLE", path + " is not in a cgroup v2 hierarchy"};
  }
  // The inode of a cgroup directory is the id that programs and links see.
  cgroup.id = status.st_ino;
  return cgroup;
}

Result<Unit> make_directories(const std::string& directory) {
  const std::string parent = directory.substr(0, directory.rfind('/'));
  for (const std::string& path : {parent, directory, directory + "/maps", directory + "/links", directory + "/pods"}) {
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
      return system_failure("MESH_PINS_UNUSABLE", "cannot make " + path, errno);
    }
  }
  struct statfs filesystem {};
  if (::statfs(directory.c_str(), &filesystem) != 0) {
    return system_failure("MESH_PINS_UNUSABLE", "cannot look at " + directory, errno);
  }
  if (filesystem.f_type != BPF_FS_MAGIC) {
    return Failure{"MESH_PINS_UNUSABLE",
                   directory + " is not on a BPF file system: mount one there (mount -t bpf bpf <directory>)"};
  }
  return Unit{};
}

}  // namespace

Result<std::unique_ptr<Steering>> Steering::open(const SteeringOptions& options) {
  if (auto made = make_directories(options.directory); !made.ok()) return made.failure();
  auto maps = SharedMaps::open(options.directory + "/maps");
  if (!maps.ok()) return maps.failure();
  std::unique_ptr<Steering> steering(new Steering(options, std::move(maps.value())));  // NOLINT: private constructor
  if (auto attached = steering->attach_to_pods_cgroup(); !attached.ok()) return attached.failure();
  return steering;
}

Result<Unit> Steering::attach_to_pods_cgroup() {
  auto cgroup = open_cgroup(options_.pods_cgroup);
  if (!cgroup.ok()) return cgroup.failure();
  auto steer = load_skeleton<warren_steer_bpf>("steer", maps_);
  if (!steer.ok()) return steer.failure();
  const auto& programs = steer.value()->progs;
  struct Attachment {
    const char* name;
    const bpf_program* program;
    bpf_attach_type type;
  };
  // sockops before connect: a redirected connect always finds the program that stores its destination.
  const Attachment attachments[] = {
      {"sockops", programs.mesh_sockops, BPF_CGROUP_SOCK_OPS},
      {"getpeername4", programs.mesh_getpeername4, BPF_CGROUP_INET4_GETPEERNAME},
      {"getpeername6", programs.mesh_getpeername6, BPF_CGROUP_INET6_GETPEERNAME},
      {"connect4", programs.mesh_connect4, BPF_CGROUP_INET4_CONNECT},
      {"connect6", programs.mesh_connect6, BPF_CGROUP_INET6_CONNECT},
  };
  for (const Attachment& attachment : attachments) {
    auto link = attach_or_adopt(options_.directory + "/links/" + attachment.name, ::bpf_program__fd(attachment.program),
                                {cgroup.value().fd.get(), cgroup.value().id, attachment.type});
    if (!link.ok()) return link.failure();
    links_.insert_or_assign(attachment.name, std::move(link.value()));
  }
  // The guard needs the kernel's BTF. Without it raw sockets go unguarded, and `guard_failure` says why.
  if (auto guarded = attach_guard(cgroup.value().fd.get(), cgroup.value().id); !guarded.ok()) {
    guard_failure_ = guarded.failure();
  }
  return Unit{};
}

std::vector<std::string> Steering::lost_links() const {
  std::vector<std::string> lost;
  auto cgroup = open_cgroup(options_.pods_cgroup);
  for (const auto& [name, held] : links_) {
    // Whose cgroups those are attached to is for whoever exempts them to say.
    if (name.starts_with("exempt-")) continue;
    auto target = link_target_id(options_.directory + "/links/" + name);
    if (!target.ok() || !cgroup.ok() || target.value() != cgroup.value().id) lost.push_back(name);
  }
  return lost;
}

Result<Unit> Steering::attach_guard(int cgroup_fd, std::uint64_t cgroup_id) {
  auto guard = load_skeleton<warren_guard_bpf>("guard", maps_);
  if (!guard.ok()) return guard.failure();
  auto link = attach_or_adopt(options_.directory + "/links/guard", ::bpf_program__fd(guard.value()->progs.mesh_guard),
                              {cgroup_fd, cgroup_id, BPF_CGROUP_INET_EGRESS});
  if (!link.ok()) return link.failure();
  links_.insert_or_assign("guard", std::move(link.value()));
  return Unit{};
}

Result<Unit> Steering::attach_pod(const PodAttachment& attachment, int netns_fd) const {
  auto lookup = load_skeleton<warren_lookup_bpf>("lookup", maps_, [&attachment](warren_lookup_bpf& skeleton) {
    skeleton.rodata->netns_cookie = attachment.cookie;
    skeleton.rodata->outbound_port = attachment.outbound_port;
    skeleton.rodata->hbone_port = attachment.hbone_port;
  });
  if (!lookup.ok()) return lookup.failure();
  auto link = attach_or_adopt(attachment.pin, ::bpf_program__fd(lookup.value()->progs.mesh_lookup),
                              {netns_fd, attachment.netns_ino, BPF_SK_LOOKUP});
  if (!link.ok()) return link.failure();
  return Unit{};
}

Result<Unit> Steering::set_pod(std::uint64_t cookie, const PodSteering& pod) const {
  warren_pod value{};
  value.outbound_port = pod.outbound_port;
  value.flags = (pod.fail_open ? WARREN_POD_FAIL_OPEN : 0) | (pod.probe_ports ? WARREN_POD_PROBE_PORTS : 0);
  std::vector<warren_pod_addr> wanted;
  for (const std::string& text : pod.addresses) {
    auto address = IpEndpoint::parse(text, 0);
    if (!address.ok()) return address.failure();
    warren_pod_addr key{};
    key.netns_cookie = cookie;
    key.family = static_cast<std::uint32_t>(address.value().family());
    address.value().copy_words(key.addr);
    wanted.push_back(key);
    // The first of a family is the one that captured connections go to.
    if (key.family == WARREN_FAMILY_V4 && value.addr4 == 0) value.addr4 = key.addr[0];
    const std::uint32_t(&words)[4] = value.addr6;
    const bool unset = std::all_of(std::begin(words), std::end(words), [](std::uint32_t word) { return word == 0; });
    if (key.family == WARREN_FAMILY_V6 && unset) std::memcpy(value.addr6, key.addr, sizeof value.addr6);
  }
  const auto same = [](const warren_pod_addr& a, const warren_pod_addr& b) {
    return std::memcmp(&a, &b, sizeof a) == 0;
  };
  for (const warren_pod_addr& key : wanted) {
    if (::bpf_map_update_elem(maps_.fd("pod_addrs"), &key, &kPresent, BPF_ANY) != 0) {
      return map_failure("pod_addrs", errno);
    }
  }
  each_key<warren_pod_addr>(maps_.fd("pod_addrs"), [&](const warren_pod_addr& key) {
    if (key.netns_cookie != cookie) return;
    const bool keep =
        std::any_of(wanted.begin(), wanted.end(), [&](const warren_pod_addr& one) { return same(one, key); });
    if (!keep) ::bpf_map_delete_elem(maps_.fd("pod_addrs"), &key);
  });
  const std::vector<std::uint16_t> ports = pod.probe_ports.value_or(std::vector<std::uint16_t>{});
  for (const std::uint16_t port : ports) {
    const warren_probe_port key{cookie, port, {}};
    if (::bpf_map_update_elem(maps_.fd("probe_ports"), &key, &kPresent, BPF_ANY) != 0) {
      return map_failure("probe_ports", errno);
    }
  }
  each_key<warren_probe_port>(maps_.fd("probe_ports"), [&](const warren_probe_port& key) {
    if (key.netns_cookie != cookie) return;
    if (std::find(ports.begin(), ports.end(), key.port) == ports.end()) {
      ::bpf_map_delete_elem(maps_.fd("probe_ports"), &key);
    }
  });
  if (::bpf_map_update_elem(maps_.fd("pods"), &cookie, &value, BPF_ANY) != 0) return map_failure("pods", errno);
  return Unit{};
}

Result<Unit> Steering::delete_pod(std::uint64_t cookie) const {
  if (::bpf_map_delete_elem(maps_.fd("pods"), &cookie) != 0 && errno != ENOENT) return map_failure("pods", errno);
  each_key<warren_pod_addr>(maps_.fd("pod_addrs"), [&](const warren_pod_addr& key) {
    if (key.netns_cookie == cookie) ::bpf_map_delete_elem(maps_.fd("pod_addrs"), &key);
  });
  each_key<warren_probe_port>(maps_.fd("probe_ports"), [&](const warren_probe_port& key) {
    if (key.netns_cookie == cookie) ::bpf_map_delete_elem(maps_.fd("probe_ports"), &key);
  });
  for (const Family family : {Family::kV4, Family::kV6}) {
    for (const std::uint32_t role : {WARREN_ROLE_OUTBOUND, WARREN_ROLE_INBOUND, WARREN_ROLE_HBONE}) {
      const warren_listener key{cookie, role, static_cast<std::uint32_t>(family)};
      ::bpf_map_delete_elem(maps_.fd("listeners"), &key);
    }
  }
  return Unit{};
}

std::vector<std::uint64_t> Steering::known_cookies() const {
  std::set<std::uint64_t> cookies;
  each_key<std::uint64_t>(maps_.fd("pods"), [&](const std::uint64_t& key) { cookies.insert(key); });
  each_key<warren_pod_addr>(maps_.fd("pod_addrs"),
                            [&](const warren_pod_addr& key) { cookies.insert(key.netns_cookie); });
  return {cookies.begin(), cookies.end()};
}

Result<Unit> Steering::set_listener(std::uint64_t cookie, std::uint32_t role, Family family, int fd) const {
  const warren_listener key{cookie, role, static_cast<std::uint32_t>(family)};
  const std::uint64_t value = static_cast<std::uint64_t>(fd);
  if (::bpf_map_update_elem(maps_.fd("listeners"), &key, &value, BPF_ANY) != 0) return map_failure("listeners", errno);
  return Unit{};
}

Result<Unit> Steering::exempt(const std::string& cgroup_path, ExemptKind kind) {
  auto cgroup = open_cgroup(cgroup_path);
  if (!cgroup.ok()) return cgroup.failure();
  const std::string name = kind == ExemptKind::kKubelet ? "exempt-kubelet" : "exempt-agent";
  auto exempt = load_skeleton<warren_exempt_bpf>("exempt", maps_, [kind](warren_exempt_bpf& skeleton) {
    skeleton.rodata->exempt_kind = static_cast<std::uint32_t>(kind);
  });
  if (!exempt.ok()) return exempt.failure();
  auto link =
      attach_or_adopt(options_.directory + "/links/" + name, ::bpf_program__fd(exempt.value()->progs.mesh_exempt),
                      {cgroup.value().fd.get(), cgroup.value().id, BPF_CGROUP_SOCK_OPS});
  if (!link.ok()) return link.failure();
  // Held as well as pinned: while an agent hands over to its successor, each needs its own cgroup's.
  links_.insert_or_assign(name, std::move(link.value()));
  if (kind == ExemptKind::kAgent &&
      ::bpf_map_update_elem(maps_.fd("agent_cgroups"), &cgroup.value().id, &kPresent, BPF_ANY) != 0) {
    return map_failure("agent_cgroups", errno);
  }
  return Unit{};
}

Result<Unit> Steering::configure(std::uint64_t host_netns_cookie, std::uint64_t heartbeat_timeout_ns) const {
  const std::uint32_t zero = 0;
  const warren_config config{host_netns_cookie, 0, heartbeat_timeout_ns};
  if (::bpf_map_update_elem(maps_.fd("config"), &zero, &config, BPF_ANY) != 0) return map_failure("config", errno);
  return heartbeat();
}

Result<Unit> Steering::heartbeat() const {
  const std::uint32_t zero = 0;
  warren_config config{};
  timespec now{};
  // bpf_ktime_get_ns() reads this clock.
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  if (::bpf_map_lookup_elem(maps_.fd("config"), &zero, &config) != 0) return map_failure("config", errno);
  config.heartbeat_ns =
      static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
  if (::bpf_map_update_elem(maps_.fd("config"), &zero, &config, BPF_ANY) != 0) return map_failure("config", errno);
  return Unit{};
}

std::map<std::string, std::uint64_t> Steering::counters() const {
  static constexpr std::pair<std::uint32_t, const char*> kNames[] = {
#define WARREN_COUNTER_NAME(number, name) {number, #name},
      WARREN_COUNTERS(WARREN_COUNTER_NAME)
#undef WARREN_COUNTER_NAME
  };
  const int cpus = ::libbpf_num_possible_cpus();
  std::vector<std::uint64_t> per_cpu(cpus > 0 ? static_cast<std::size_t>(cpus) : 1);
  std::map<std::string, std::uint64_t> result;
  for (const auto& [number, name] : kNames) {
    if (::bpf_map_lookup_elem(maps_.fd("counters"), &number, per_cpu.data()) != 0) continue;
    std::uint64_t sum = 0;
    for (const std::uint64_t value : per_cpu) sum += value;
    result.emplace(name, sum);
  }
  return result;
}

}  // namespace warren::capture
