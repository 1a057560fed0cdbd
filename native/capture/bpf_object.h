#pragma once

#include <bpf/libbpf.h>

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/fd.h"
#include "result.h"

// BPF objects through their skeletons: open, set, load; and what libbpf says when that fails.
namespace warren::capture {

inline constexpr const char* kBpfFailed = "MESH_BPF_FAILED";

// Everything that libbpf warns about on this thread while the scope lives.
class LibbpfWarnings {
 public:
  LibbpfWarnings();
  ~LibbpfWarnings();
  LibbpfWarnings(const LibbpfWarnings&) = delete;
  LibbpfWarnings& operator=(const LibbpfWarnings&) = delete;

  [[nodiscard]] Failure failure(const std::string& what, int error) const;
};

// The maps of bpf/maps.bpf.c by name, pinned.
class SharedMaps {
 public:
  static Result<SharedMaps> open(const std::string& directory);

  [[nodiscard]] int fd(const std::string& name) const { return fds_.at(name).get(); }
  // Makes an opened, not yet loaded object use these maps in place of maps of its own.
  Result<Unit> lend(bpf_object* object) const;

 private:
  std::map<std::string, Fd> fds_;
};

template <class Skeleton>
using SkeletonPtr = std::unique_ptr<Skeleton, void (*)(Skeleton*)>;

// Opens a skeleton, lends it the shared maps, lets `set` fill its read-only data, loads it.
template <class Skeleton>
Result<SkeletonPtr<Skeleton>> load_skeleton(const char* name, const SharedMaps& maps,
                                            const std::function<void(Skeleton&)>& set = {}) {
  const LibbpfWarnings warnings;
  SkeletonPtr<Skeleton> skeleton(Skeleton::open(), Skeleton::destroy);
  if (!skeleton) return warnings.failure(std::string("cannot open BPF object ") + name, errno);
  if (auto lent = maps.lend(skeleton->obj); !lent.ok()) return lent.failure();
  if (set) set(*skeleton);
  if (const int error = Skeleton::load(skeleton.get()); error != 0) {
    return warnings.failure(std::string("the kernel refuses BPF object ") + name, -error);
  }
  return skeleton;
}

}  // namespace warren::capture
