#pragma once

#include <array>
#include <cstdint>

#include "engine/base/intrusive_list.h"

namespace warren::engine {

class TimerWheel;

// One pending wake-up, held by what it wakes; cancelled when it dies. Used by one thread only.
class Timer {
 public:
  using Fire = void (*)(void* owner);
  Timer(void* owner, Fire fire) : hook_(this), owner_(owner), fire_(fire) {}

  [[nodiscard]] bool armed() const { return hook_.linked(); }
  void cancel() { hook_.unlink(); }

 private:
  friend class TimerWheel;
  Hook<Timer> hook_;
  void* owner_;
  Fire fire_;
  int64_t deadline_ = 0;
};

// A hierarchical timing wheel (Varghese and Lauck, 1987) of one-millisecond ticks: arming, cancelling and firing in
// constant time, because most of an engine's timers are cancelled before they fire.
class TimerWheel {
 public:
  explicit TimerWheel(int64_t now) : now_(now) {}

  // Fires at the first `advance` at or after `deadline`. Re-arming moves the timer.
  void arm(Timer& timer, int64_t deadline);
  // Fires everything due. Callbacks may arm and cancel any timer.
  void advance(int64_t to);
  // Milliseconds until something may be due, -1 for never.
  [[nodiscard]] int64_t untilNext() const;

 private:
  static constexpr int kBits = 6;
  static constexpr int kSlots = 1 << kBits;
  static constexpr int kLevels = 4;
  using Slot = IntrusiveList<Timer>;

  void place(Timer& timer);
  void cascade(int level);

  int64_t now_;
  // A set bit says that the slot may hold timers; cancelling does not clear it, passing does.
  std::array<uint64_t, kLevels> used_{};
  std::array<std::array<Slot, kSlots>, kLevels> slots_;
};

}  // namespace warren::engine
