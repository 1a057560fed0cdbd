#include "engine/core/decision_cache.h"

#include <bit>

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

std::shared_ptr<const Decision> DecisionCache::find(const FlowFacts& facts) {
  uint32_t masks = masks_[static_cast<size_t>(facts.role)];
  while (masks != 0) {
    const int fields = std::countr_zero(masks);
    masks &= masks - 1;
    const auto entry = entries_.find(key(facts, static_cast<uint8_t>(fields)));
    if (entry != entries_.end() && entry->second->epoch >= epoch_) return entry->second;
  }
  return nullptr;
}

void DecisionCache::remember(const FlowFacts& facts, std::shared_ptr<const Decision> decision) {
  const std::lock_guard lock(mutex_);
  if (decision->epoch < epoch_) return;
  if (entries_.size() >= kMost) forget();
  masks_[static_cast<size_t>(facts.role)] |= uint32_t{1} << decision->fields;
  const auto [entry, added] = entries_.insert_or_assign(key(facts, decision->fields), std::move(decision));
  if (added) total_.fetch_add(1, std::memory_order_relaxed);
}

void DecisionCache::advance(uint64_t epoch) {
  const std::lock_guard lock(mutex_);
  if (epoch <= epoch_) return;
  epoch_ = epoch;
  forget();
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
