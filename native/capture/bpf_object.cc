#include "bpf_object.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>

#include "maps.skel.h"

namespace warren::capture {

namespace {

// Verifier logs can have many pages; their end tells.
constexpr std::size_t kKeptBytes = 2000;

// libbpf has one print function per process, called on the thread that called libbpf.
thread_local std::string* warnings_of_thread = nullptr;

int keep_warning(libbpf_print_level level, const char* format, va_list arguments) {
  if (level != LIBBPF_WARN || warnings_of_thread == nullptr) return 0;
  char line[4096];
  const int length = std::vsnprintf(line, sizeof line, format, arguments);
  if (length <= 0) return 0;
  warnings_of_thread->append(line);
  if (warnings_of_thread->size() > kKeptBytes) {
    warnings_of_thread->erase(0, warnings_of_thread->size() - kKeptBytes);
  }
  return length;
}

}  // namespace

LibbpfWarnings::LibbpfWarnings() {
  ::libbpf_set_print(keep_warning);
  warnings_of_thread = new std::string();  // NOLINT(cppcoreguidelines-owning-memory): freed below, same thread
}

LibbpfWarnings::~LibbpfWarnings() {
  delete warnings_of_thread;  // NOLINT(cppcoreguidelines-owning-memory)
  warnings_of_thread = nullptr;
}

Failure LibbpfWarnings::failure(const std::string& what, int error) const {
  Failure failure = system_failure(kBpfFailed, what, error);
  if (warnings_of_thread != nullptr && !warnings_of_thread->empty()) failure.message += "\n" + *warnings_of_thread;
  return failure;
}

Result<SharedMaps> SharedMaps::open(const std::string& directory) {
  const LibbpfWarnings warnings;
  const SkeletonPtr<warren_maps_bpf> skeleton(warren_maps_bpf::open(), warren_maps_bpf::destroy);
  if (!skeleton) return warnings.failure("cannot open BPF object maps", errno);
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, skeleton->obj) {
    const std::string path = directory + "/" + ::bpf_map__name(map);
    // A pin of this path is reused if type, sizes and flags agree, else loading fails.
    if (const int error = ::bpf_map__set_pin_path(map, path.c_str()); error != 0) {
      return warnings.failure("cannot pin at " + path, -error);
    }
  }
  if (const int error = warren_maps_bpf::load(skeleton.get()); error != 0) {
    return warnings.failure("cannot create or reuse the maps pinned in " + directory, -error);
  }
  SharedMaps maps;
  bpf_object__for_each_map(map, skeleton->obj) {
    Fd fd(::fcntl(::bpf_map__fd(map), F_DUPFD_CLOEXEC, 0));
    if (!fd.valid()) return system_failure(kBpfFailed, "cannot keep a map", errno);
    maps.fds_.emplace(::bpf_map__name(map), std::move(fd));
  }
  return maps;
}

Result<Unit> SharedMaps::lend(bpf_object* object) const {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) {
    const auto found = fds_.find(::bpf_map__name(map));
    if (found == fds_.end()) continue;  // the object's own read-only data
    if (const int error = ::bpf_map__reuse_fd(map, found->second.get()); error != 0) {
      return system_failure(kBpfFailed, "cannot share map " + found->first, -error);
    }
  }
  return Unit{};
}

}  // namespace warren::capture
