#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/core/events.h"
#include "engine/core/flow.h"

namespace warren::engine {

// Open flows gathered by all that policy sees of them, so that thousands of alike ones cross to TypeScript as one row
// and their ids.
class FlowClasses {
 public:
  // With the flow's table's lock held.
  void add(const Flow& flow);

  // One flow of each class.
  [[nodiscard]] const RecordBuffer& rows() const { return rows_; }
  // How many flows there are of each class, in the order of the rows, and their ids, class by class.
  [[nodiscard]] std::vector<double> counts() const;
  [[nodiscard]] std::vector<double> ids() const;

 private:
  struct Key {
    uint64_t pod = 0;
    uint32_t label = 0;
    Role role = Role::outbound;
    Address source;
    Address destination;
    Address target;
    // Owned by the flow's tunnel, and by `peers_` from here on.
    const std::string* peer = nullptr;
    // Of a flow whose destination is a name, and which is alone in its class therefore; else 0.
    uint64_t alone = 0;

    [[nodiscard]] bool operator==(const Key& other) const;
  };
  struct Hash {
    size_t operator()(const Key& key) const;
  };

  RecordBuffer rows_;
  std::unordered_map<Key, uint32_t, Hash> classes_;
  std::vector<std::shared_ptr<const std::string>> peers_;
  std::vector<uint32_t> sizes_;
  std::vector<std::pair<uint32_t, uint64_t>> members_;
};

}  // namespace warren::engine
