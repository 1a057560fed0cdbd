#include "engine/core/memory_return.h"

#include <malloc.h>
#include <pthread.h>

#include <chrono>

namespace warren::engine {

namespace {
// Less than this at once leaves nothing behind that is worth a walk through the heap.
constexpr int64_t kBurst = 1024;
// What ends together ends within a moment; workers' free blocks have gone by then.
constexpr std::chrono::milliseconds kSettle{1000};
}  // namespace

MemoryReturn::MemoryReturn() : thread_([this] { loop(); }) {
  pthread_setname_np(thread_.native_handle(), "warren-memory");
}

MemoryReturn::~MemoryReturn() {
  stop();
}

void MemoryReturn::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void MemoryReturn::grew(int64_t weight) {
  const int64_t live = live_.fetch_add(weight, std::memory_order_relaxed) + weight;
  int64_t peak = peak_.load(std::memory_order_relaxed);
  while (live > peak && !peak_.compare_exchange_weak(peak, live, std::memory_order_relaxed)) {
  }
}

void MemoryReturn::shrank(int64_t weight) {
  const int64_t live = live_.fetch_sub(weight, std::memory_order_relaxed) - weight;
  const int64_t peak = peak_.load(std::memory_order_relaxed);
  if (peak < kBurst || live >= peak / 2 || due_.exchange(true, std::memory_order_relaxed)) return;
  // Through the lock, so that the thread is either not yet looking or already waiting.
  { const std::lock_guard lock(mutex_); }
  changed_.notify_one();
}

void MemoryReturn::loop() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    changed_.wait(lock, [this] { return stopping_ || due_.load(std::memory_order_relaxed); });
    if (changed_.wait_for(lock, kSettle, [this] { return stopping_; })) return;
    due_.store(false, std::memory_order_relaxed);
    peak_.store(live_.load(std::memory_order_relaxed), std::memory_order_relaxed);
    lock.unlock();
    malloc_trim(0);
    lock.lock();
  }
}

}  // namespace warren::engine
