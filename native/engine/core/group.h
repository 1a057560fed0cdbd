#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/address.h"
#include "engine/core/reason.h"
#include "engine/tls/credential.h"

namespace warren::engine {

class Pod;

// The low bits of flow and tunnel numbers say on which worker they were made.
inline constexpr unsigned kWorkerBits = 5;
inline constexpr unsigned kMostWorkers = 1U << kWorkerBits;

// How a group is to grow; the same for all groups of an engine.
struct GroupLimits {
  uint32_t flowsPerTunnel = 1;
  uint32_t tunnels = 1;
  unsigned workers = 1;
  int64_t backoff = 0;
  int64_t backoffMax = 0;
};

// A flow that waits for room, by where it is.
struct Waiter {
  unsigned worker = 0;
  uint64_t flow = 0;
};

// The pool of tunnels of one {source credential, source pod, peer, expected identities}, shared by all workers. It
// holds numbers only: the tunnels belong to their workers. Its lock is held for a look at a few seats, never over a
// handshake.
class Group {
 public:
  Group(uint64_t handle, std::shared_ptr<Pod> pod, Address peer, std::vector<std::string> expected, GroupLimits limits)
      : handle(handle), pod(std::move(pod)), peer(peer), expected(std::move(expected)), limits_(limits) {}

  const uint64_t handle;
  const std::shared_ptr<Pod> pod;
  const Address peer;
  const std::vector<std::string> expected;

  enum class Found : uint8_t { seat, wait, failed, released };
  struct Choice {
    Found found = Found::failed;
    uint64_t tunnel = 0;
    Reason reason = Reason::ok;
    std::string detail;
  };

  // A seat in the least loaded tunnel, in a new one when all are busy, or a place in the queue when there may be no
  // more. `waiter` is queued only for `wait`. A new tunnel's number is drawn from `ids` and says on which worker it is
  // to be made.
  Choice choose(const Waiter& waiter, int64_t now, std::atomic<uint64_t>& ids);
  // Gives a seat back, or to the longest waiting flow, which is returned with its seat taken.
  std::optional<Waiter> leave(uint64_t tunnel);
  // The peer's limit became known. Returns flows that found room by it, their seats taken.
  std::vector<Waiter> setCapacity(uint64_t tunnel, uint32_t capacity, uint32_t& excess);
  // The tunnel takes no new flows; its seats are gone. Returns those who wait, to choose again.
  std::vector<Waiter> remove(uint64_t tunnel);
  // The same, only if nobody sits in it.
  bool removeIfEmpty(uint64_t tunnel);
  [[nodiscard]] bool holds(uint64_t tunnel) const;

  void failed(Reason reason, std::string detail, int64_t now);
  void forgetFailure();
  // Set while the peer is answered from memory.
  [[nodiscard]] bool inBackoff(int64_t now) const;
  [[nodiscard]] int64_t load() const;

  std::vector<Waiter> release();
  [[nodiscard]] bool released() const;
  [[nodiscard]] size_t tunnels() const;

  // A TLS session to resume, tied to the issue of the credential under which the peer was judged.
  void keepSession(std::shared_ptr<const CredentialVersion> version, SSL_SESSION* session);
  std::unique_ptr<SSL_SESSION, decltype(&SSL_SESSION_free)> session(
      const std::shared_ptr<const CredentialVersion>& version);

 private:
  struct Seat {
    uint64_t tunnel = 0;
    unsigned worker = 0;
    uint32_t flows = 0;
    uint32_t capacity = 0;
  };

  // Flows in the least loaded tunnel from which on another worker gets a tunnel of its own: few enough that eight
  // parallel streams use two cores, many enough that a pod with a handful of connections keeps one tunnel.
  static constexpr uint32_t kStripeFrom = 4;

  Seat* find(uint64_t tunnel);
  [[nodiscard]] unsigned emptiestWorker(unsigned preferred) const;
  std::vector<Waiter> takeWaiters();

  const GroupLimits limits_;
  mutable std::mutex mutex_;
  std::vector<Seat> seats_;
  std::deque<Waiter> waiters_;
  bool released_ = false;
  Reason failure_ = Reason::ok;
  std::string failureDetail_;
  int64_t failedUntil_ = 0;
  int64_t backoff_ = 0;
  std::shared_ptr<const CredentialVersion> sessionVersion_;
  std::unique_ptr<SSL_SESSION, decltype(&SSL_SESSION_free)> session_{nullptr, SSL_SESSION_free};
};

}  // namespace warren::engine
