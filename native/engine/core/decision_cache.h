#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "engine/base/address.h"
#include "engine/core/decision.h"

namespace warren::engine {

enum class Role : uint8_t { outbound = 0, inboundPlaintext = 1, inboundHbone = 2 };

// The facts of a flow that a decision may depend on.
struct FlowFacts {
  Role role = Role::outbound;
  Address source;
  Address destination;
  std::string_view peer;
  std::string_view authority;
};

// One pod's remembered decisions. A decision made from an older state than `advance` has named is never handed out:
// looking one up and applying it happen under the lock that `advance` takes, so when `advance` returns no worker is
// between the two.
class DecisionCache {
 public:
  // `total` counts those of all pods, of which there are `most`: sources and destinations are the peers' choice.
  DecisionCache(std::atomic<int64_t>& total, int64_t most) : total_(total), most_(most) {}
  DecisionCache(const DecisionCache&) = delete;
  DecisionCache& operator=(const DecisionCache&) = delete;
  ~DecisionCache() { clear(); }

  // Calls `apply` with the decision under the lock, if there is one.
  template <typename Apply>
  bool use(const FlowFacts& facts, Apply apply) {
    const std::lock_guard lock(mutex_);
    const std::shared_ptr<const Decision> found = find(facts);
    if (found != nullptr) apply(found);
    return found != nullptr;
  }
  void remember(const FlowFacts& facts, std::shared_ptr<const Decision> decision);
  void advance(uint64_t epoch);
  void clear();

 private:
  static constexpr size_t kRoles = 3;
  static constexpr size_t kMasks = 32;

  static std::string key(const FlowFacts& facts, uint8_t fields);
  std::shared_ptr<const Decision> find(const FlowFacts& facts);
  void forget();

  std::mutex mutex_;
  uint64_t epoch_ = 0;
  // Which combinations of fields are in use, so that a look-up tries only those.
  std::array<uint32_t, kRoles> masks_{};
  std::unordered_map<std::string, std::shared_ptr<const Decision>> entries_;
  std::atomic<int64_t>& total_;
  const int64_t most_;
};

}  // namespace warren::engine
