#pragma once

#include <array>
#include <cstdint>

namespace warren::engine {

// Whether a worker should look on for a moment before it sleeps. A processor that went to sleep takes tens of
// microseconds to wake, and whoever wakes it is held up as well. While a worker has one conversation (events one by
// one, from one flow and its tunnel), whose next event comes sooner than that, looking on costs no more processor time
// than going to sleep and being woken, and saves the wait. With several conversations there is no saving: the next
// event is seldom the one that the look was for.
//
// The two sides are told apart, because what follows on them differs: an application on this machine answers in
// microseconds, the other node after a round trip, and one that waits for this very processor never while it is looked
// for. So each side earns its looks: those that were rewarded pay for those that were not.
class Conversation {
 public:
  // Most microseconds of a look: what a sleep and the wake-up after it take, with an answer in between.
  static constexpr int64_t kLook = 60;

  // The next event is worth looking for. Asked once per wait: a side that looked in vain sits some waits out.
  [[nodiscard]] bool looksOn();
  void looked(bool rewarded);
  // The wait ended with one event, from `source`, after so many microseconds.
  void heard(const void* source, int64_t waited);
  // It ended with several: there is more than one conversation.
  void interrupted() { following_ = 0; }
  // It ended for another reason, so how soon the next event comes is not known.
  void unheard() { sides_[current_].brisk = false; }

 private:
  static constexpr int kPrice = 4;
  static constexpr int kLeastRest = 16;
  struct Side {
    const void* source = nullptr;
    // The event after the last one from here came soon.
    bool brisk = false;
    int credit = kPrice;
    // Waits to sit out when the credit is used up, and those that are left of them.
    int rest = kLeastRest;
    int resting = 0;
  };

  // The side of the last event, and the one of the last event with another source.
  std::array<Side, 2> sides_{};
  unsigned current_ = 0;
  // Events of these two that followed one another.
  int following_ = 0;
};

}  // namespace warren::engine
