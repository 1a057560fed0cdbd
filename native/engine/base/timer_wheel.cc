#include "engine/base/timer_wheel.h"

#include <algorithm>
#include <bit>

namespace warren::engine {

void TimerWheel::arm(Timer& timer, int64_t deadline) {
  timer.hook_.unlink();
  timer.deadline_ = std::max(deadline, now_ + 1);
  place(timer);
}

void TimerWheel::place(Timer& timer) {
  // Beyond the last level: waits in its last slot and is placed again from there.
  const int64_t reach = (int64_t{1} << (kBits * kLevels)) - (int64_t{1} << (kBits * (kLevels - 1)));
  const int64_t when = std::min(timer.deadline_, now_ + reach);
  const int64_t away = when - now_;
  int level = 0;
  while (level < kLevels - 1 && away >= int64_t{1} << (kBits * (level + 1))) level++;
  const auto index = static_cast<size_t>((when >> (kBits * level)) & (kSlots - 1));
  used_[static_cast<size_t>(level)] |= uint64_t{1} << index;
  slots_[static_cast<size_t>(level)][index].pushBack(timer.hook_);
}

void TimerWheel::cascade(int level) {
  const auto at = static_cast<size_t>(level);
  const auto index = static_cast<size_t>((now_ >> (kBits * level)) & (kSlots - 1));
  if (index == 0 && level + 1 < kLevels) cascade(level + 1);
  Slot due;
  slots_[at][index].spliceInto(due);
  used_[at] &= ~(uint64_t{1} << index);
  while (Timer* timer = due.popFront()) place(*timer);
}

void TimerWheel::advance(int64_t to) {
  while (now_ < to) {
    // Nothing in the lowest level: jump to just before the next cascade.
    if (used_[0] == 0) now_ = std::min(to - 1, now_ | (kSlots - 1));
    now_++;
    const auto index = static_cast<size_t>(now_ & (kSlots - 1));
    if (index == 0) cascade(1);
    if ((used_[0] >> index & 1) == 0) continue;
    used_[0] &= ~(uint64_t{1} << index);
    Slot due;
    slots_[0][index].spliceInto(due);
    while (Timer* timer = due.popFront()) {
      if (timer->deadline_ > now_) {
        place(*timer);
      } else {
        timer->fire_(timer->owner_);
      }
    }
  }
}

int64_t TimerWheel::untilNext() const {
  int64_t next = -1;
  for (int level = 0; level < kLevels; level++) {
    const uint64_t used = used_[static_cast<size_t>(level)];
    if (used == 0) continue;
    const int64_t base = now_ >> (kBits * level);
    const int shift = static_cast<int>((base + 1) & (kSlots - 1));
    const int64_t distance = 1 + std::countr_zero(std::rotr(used, shift));
    const int64_t at = ((base + distance) << (kBits * level)) - now_;
    if (next < 0 || at < next) next = at;
  }
  return next;
}

}  // namespace warren::engine
