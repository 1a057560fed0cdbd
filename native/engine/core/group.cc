#include "engine/core/group.h"

#include <algorithm>
#include <utility>

namespace warren::engine {

Group::Seat* Group::find(uint64_t tunnel) {
  const auto seat = std::find_if(seats_.begin(), seats_.end(), [&](const Seat& each) { return each.tunnel == tunnel; });
  return seat == seats_.end() ? nullptr : &*seat;
}

unsigned Group::emptiestWorker(unsigned preferred) const {
  std::vector<uint32_t> tunnels(limits_.workers, 0);
  for (const Seat& seat : seats_) tunnels[seat.worker]++;
  unsigned best = preferred;
  for (unsigned worker = 0; worker < limits_.workers; worker++) {
    if (tunnels[worker] < tunnels[best]) best = worker;
  }
  return best;
}

Group::Choice Group::choose(const Waiter& waiter, int64_t now, std::atomic<uint64_t>& ids) {
  const std::lock_guard lock(mutex_);
  Choice choice;
  if (released_) {
    choice.found = Found::released;
    return choice;
  }
  Seat* best = nullptr;
  for (Seat& seat : seats_) {
    if (seat.flows >= seat.capacity) continue;
    // At equal load the own worker's: it spares the flow a move.
    const bool better = best == nullptr || seat.flows < best->flows ||
                        (seat.flows == best->flows && seat.worker == waiter.worker && best->worker != waiter.worker);
    if (better) best = &seat;
  }
  const bool resting = now < failedUntil_;
  if (best == nullptr && seats_.empty() && resting) {
    choice.reason = failure_;
    choice.detail = failureDetail_;
    return choice;
  }
  const bool stripe = best != nullptr && best->flows >= kStripeFrom && seats_.size() < limits_.workers;
  if (seats_.size() < limits_.tunnels && !resting && (best == nullptr || stripe)) {
    const unsigned worker = emptiestWorker(waiter.worker);
    const uint64_t tunnel = ids.fetch_add(1, std::memory_order_relaxed) << kWorkerBits | worker;
    best = &seats_.emplace_back(Seat{tunnel, worker, 0, limits_.flowsPerTunnel});
  }
  if (best == nullptr) {
    waiters_.push_back(waiter);
    choice.found = Found::wait;
    return choice;
  }
  best->flows++;
  choice.found = Found::seat;
  choice.tunnel = best->tunnel;
  return choice;
}

std::optional<Waiter> Group::leave(uint64_t tunnel) {
  const std::lock_guard lock(mutex_);
  Seat* seat = find(tunnel);
  if (seat == nullptr) return std::nullopt;
  if (!waiters_.empty() && seat->flows <= seat->capacity) {
    const Waiter next = waiters_.front();
    waiters_.pop_front();
    return next;
  }
  seat->flows--;
  return std::nullopt;
}

std::vector<Waiter> Group::setCapacity(uint64_t tunnel, uint32_t capacity, uint32_t& excess) {
  const std::lock_guard lock(mutex_);
  std::vector<Waiter> seated;
  excess = 0;
  Seat* seat = find(tunnel);
  if (seat == nullptr) return seated;
  seat->capacity = std::min(capacity, limits_.flowsPerTunnel);
  if (seat->flows > seat->capacity) excess = seat->flows - seat->capacity;
  while (seat->flows < seat->capacity && !waiters_.empty()) {
    seated.push_back(waiters_.front());
    waiters_.pop_front();
    seat->flows++;
  }
  return seated;
}

std::vector<Waiter> Group::takeWaiters() {
  std::vector<Waiter> all(waiters_.begin(), waiters_.end());
  waiters_.clear();
  return all;
}

std::vector<Waiter> Group::remove(uint64_t tunnel) {
  const std::lock_guard lock(mutex_);
  const size_t removed = std::erase_if(seats_, [&](const Seat& seat) { return seat.tunnel == tunnel; });
  return removed == 0 ? std::vector<Waiter>{} : takeWaiters();
}

bool Group::removeIfEmpty(uint64_t tunnel) {
  const std::lock_guard lock(mutex_);
  return std::erase_if(seats_, [&](const Seat& seat) { return seat.tunnel == tunnel && seat.flows == 0; }) != 0;
}

bool Group::holds(uint64_t tunnel) const {
  const std::lock_guard lock(mutex_);
  return std::any_of(seats_.begin(), seats_.end(), [&](const Seat& seat) { return seat.tunnel == tunnel; });
}

void Group::failed(Reason reason, std::string detail, int64_t now) {
  const std::lock_guard lock(mutex_);
  backoff_ = backoff_ == 0 ? limits_.backoff : std::min(backoff_ * 2, limits_.backoffMax);
  failedUntil_ = now + backoff_;
  failure_ = reason;
  failureDetail_ = std::move(detail);
}

void Group::forgetFailure() {
  const std::lock_guard lock(mutex_);
  backoff_ = 0;
  failedUntil_ = 0;
}

bool Group::inBackoff(int64_t now) const {
  const std::lock_guard lock(mutex_);
  return now < failedUntil_;
}

int64_t Group::load() const {
  const std::lock_guard lock(mutex_);
  int64_t flows = static_cast<int64_t>(waiters_.size());
  for (const Seat& seat : seats_) flows += seat.flows;
  return flows;
}

std::vector<Waiter> Group::release() {
  const std::lock_guard lock(mutex_);
  released_ = true;
  session_.reset();
  return takeWaiters();
}

bool Group::released() const {
  const std::lock_guard lock(mutex_);
  return released_;
}

size_t Group::tunnels() const {
  const std::lock_guard lock(mutex_);
  return seats_.size();
}

void Group::keepSession(std::shared_ptr<const CredentialVersion> version, SSL_SESSION* session) {
  const std::lock_guard lock(mutex_);
  session_.reset(session);
  sessionVersion_ = std::move(version);
}

std::unique_ptr<SSL_SESSION, decltype(&SSL_SESSION_free)> Group::session(
    const std::shared_ptr<const CredentialVersion>& version) {
  const std::lock_guard lock(mutex_);
  std::unique_ptr<SSL_SESSION, decltype(&SSL_SESSION_free)> out(nullptr, SSL_SESSION_free);
  // A TLS 1.3 ticket is for one use (RFC 8446 §C.4), so it is handed out once.
  if (sessionVersion_ == version) out = std::move(session_);
  return out;
}

}  // namespace warren::engine
