#include "engine/core/decision_cache.h"

#include <algorithm>
#include <bit>

#include "engine/core/group.h"

namespace warren::engine {

std::string DecisionCache::key(const FlowFacts& facts, uint8_t fields) {
  std::string out;
  out.reserve(64);
  out.push_back(static_cast<char>(facts.role));
  out.push_back(static_cast<char>(fields));
  const auto host = [&](const Address& address) {
    out.push_back(static_cast<char>(address.family));
    out.append(reinterpret_cast<const char*>(address.ip.data()), address.family == 4 ? 4 : 16);
  };
  if ((fields & kDestination) != 0) host(facts.destination);
  if ((fields & (kDestination | kDestinationPort)) != 0) {
    out.push_back(static_cast<char>(facts.destination.port & 0xff));
    out.push_back(static_cast<char>(facts.destination.port >> 8));
  }
  if ((fields & kSourceAddress) != 0) host(facts.source);
  // Lengths keep two texts from running into each other; neither holds a zero byte.
  if ((fields & kPeerIdentity) != 0) out.append(facts.peer).push_back('\0');
  if ((fields & kAuthority) != 0) out.append(facts.authority).push_back('\0');
  return out;
}

namespace {
// Once a decision's groups are all released it would carry nothing.
bool usable(const Decision& decision) {
  return decision.kind != DecisionKind::carry ||
         std::any_of(decision.carry.begin(), decision.carry.end(),
                     [](const CarryTarget& target) { return !target.group->released(); });
}
}  // namespace

std::shared_ptr<const Decision> DecisionCache::find(const FlowFacts& facts) {
  uint32_t masks = masks_[static_cast<size_t>(facts.role)];
  while (masks != 0) {
    const int fields = std::countr_zero(masks);
    masks &= masks - 1;
    const auto entry = entries_.find(key(facts, static_cast<uint8_t>(fields)));
    if (entry != entries_.end() && entry->second->epoch >= epoch_ && usable(*entry->second)) return entry->second;
  }
  return nullptr;
}

void DecisionCache::remember(const FlowFacts& facts, std::shared_ptr<const Decision> decision) {
  const std::lock_guard lock(mutex_);
  if (decision->epoch < epoch_) return;
  if (total_.load(std::memory_order_relaxed) >= most_) {
    if (entries_.empty()) return;
    entries_.erase(entries_.begin());
    total_.fetch_sub(1, std::memory_order_relaxed);
  }
  masks_[static_cast<size_t>(facts.role)] |= uint32_t{1} << decision->fields;
  const auto [entry, added] = entries_.insert_or_assign(key(facts, decision->fields), std::move(decision));
  if (added) total_.fetch_add(1, std::memory_order_relaxed);
}

void DecisionCache::advance(uint64_t epoch) {
  const std::lock_guard lock(mutex_);
  if (epoch <= epoch_) return;
  epoch_ = epoch;
  const size_t stale = std::erase_if(entries_, [&](const auto& entry) { return entry.second->epoch < epoch; });
  total_.fetch_sub(static_cast<int64_t>(stale), std::memory_order_relaxed);
  if (entries_.empty()) masks_.fill(0);
}

void DecisionCache::clear() {
  const std::lock_guard lock(mutex_);
  forget();
}

void DecisionCache::forget() {
  total_.fetch_sub(static_cast<int64_t>(entries_.size()), std::memory_order_relaxed);
  entries_.clear();
  masks_.fill(0);
}

}  // namespace warren::engine
