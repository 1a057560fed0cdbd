#include "engine/core/flow_classes.h"

#include <cstring>

namespace warren::engine {

bool FlowClasses::Key::operator==(const Key& other) const {
  const bool samePeer = peer == other.peer || (peer != nullptr && other.peer != nullptr && *peer == *other.peer);
  return samePeer && pod == other.pod && label == other.label && role == other.role && alone == other.alone &&
         source == other.source && destination == other.destination && target == other.target;
}

// Of what tells most classes apart; whole addresses and names are compared where that is not enough.
size_t FlowClasses::Hash::operator()(const Key& key) const {
  uint64_t host[2];
  std::memcpy(host, key.source.ip.data(), sizeof host);
  uint64_t mixed = 0;
  const uint64_t parts[] = {host[0], host[1], key.pod, (uint64_t{key.label} << 16) | key.destination.port, key.alone};
  for (const uint64_t part : parts) {
    mixed = (mixed ^ part) * 0x9E3779B97F4A7C15ULL;
    mixed ^= mixed >> 32;
  }
  return mixed;
}

void FlowClasses::add(const Flow& flow) {
  Key key;
  key.pod = flow.pod()->handle;
  key.role = flow.role();
  key.source = flow.source();
  // The port is each connection's own, and no policy asks about it.
  key.source.port = 0;
  key.destination = flow.destination();
  key.peer = flow.view.peer.get();
  if (key.destination.none()) key.alone = flow.id();
  if (key.role == Role::outbound) {
    // Where it went, and whether it was joined without a tunnel, only the label tells.
    key.label = flow.view.label;
    key.target = flow.view.target;
  }
  const auto [entry, added] = classes_.try_emplace(key, static_cast<uint32_t>(sizes_.size()));
  if (added) {
    writeRecord(rows_, RecordKind::flowRow, flow.record());
    sizes_.push_back(0);
    peers_.push_back(flow.view.peer);
  }
  sizes_[entry->second]++;
  members_.emplace_back(entry->second, flow.id());
}

std::vector<double> FlowClasses::counts() const {
  return {sizes_.begin(), sizes_.end()};
}

std::vector<double> FlowClasses::ids() const {
  std::vector<size_t> next(sizes_.size());
  size_t start = 0;
  for (size_t i = 0; i < sizes_.size(); i++) {
    next[i] = start;
    start += sizes_[i];
  }
  std::vector<double> ids(members_.size());
  for (const auto& [of, id] : members_) ids[next[of]++] = static_cast<double>(id);
  return ids;
}

}  // namespace warren::engine
