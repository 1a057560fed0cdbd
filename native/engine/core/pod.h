#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/base/address.h"
#include "engine/core/decision_cache.h"
#include "engine/core/reason.h"
#include "engine/net/original_destination.h"
#include "engine/net/socket_factory.h"
#include "engine/tls/credential.h"

namespace warren::engine {

enum class Purpose : uint8_t { leave, deliver };

// One enrolled pod. Fields without a lock are fixed or atomic.
class Pod {
 public:
  Pod(uint64_t handle, std::atomic<int64_t>& remembered, int64_t mostRemembered)
      : handle(handle), decisions(remembered, mostRemembered) {}

  const uint64_t handle;
  std::string uid;
  Netns netns;
  OriginalDestination originalDestination;
  uint32_t leaveMark = 0;
  uint32_t deliverMark = 0;
  // The worker that accepts this pod's connections and, while load allows, carries them: flows of one pod share
  // tunnels.
  unsigned home = 0;
  DecisionCache decisions;

  mutable std::atomic<int64_t> flows{0};
  mutable std::atomic<int64_t> inboundTunnels{0};
  mutable std::atomic<int64_t> outboundTunnels{0};
  // Bytes of its flows that wait for slow readers, whichever workers carry them.
  mutable std::atomic<int64_t> buffered{0};
  // Listeners, flows and tunnels that still exist; with `closing` set the pod is gone when it reaches zero.
  mutable std::atomic<int64_t> residents{0};
  std::atomic<bool> closing{false};
  // Why its flows were ended, once a worker began to: none may go on, on whichever worker it arrives.
  mutable std::atomic<Reason> cut{Reason::ok};

  [[nodiscard]] uint32_t mark(Purpose purpose) const { return purpose == Purpose::leave ? leaveMark : deliverMark; }

  [[nodiscard]] bool has(const Address& address) const {
    const std::lock_guard lock(mutex_);
    return std::any_of(addresses_.begin(), addresses_.end(), [&](const Address& own) { return own.sameHost(address); });
  }
  void setAddresses(std::vector<Address> addresses) {
    const std::lock_guard lock(mutex_);
    addresses_ = std::move(addresses);
  }
  [[nodiscard]] std::shared_ptr<Credential> credential() const {
    const std::lock_guard lock(mutex_);
    return credential_;
  }
  void setCredential(std::shared_ptr<Credential> credential) {
    const std::lock_guard lock(mutex_);
    credential_ = std::move(credential);
  }

 private:
  mutable std::mutex mutex_;
  std::vector<Address> addresses_;
  std::shared_ptr<Credential> credential_;
};

}  // namespace warren::engine
