#include "engine/core/conversation.h"

#include <algorithm>

namespace warren::engine {

namespace {
constexpr int kFollowing = 4;
// An event that reached a sleeping worker after so long would have come to one that looked in about `kLook`.
constexpr int64_t kBrisk = 100;
constexpr int kMostCredit = 16;
constexpr int kMostRest = 256;
}  // namespace

bool Conversation::looksOn() {
  Side& side = sides_[current_];
  if (following_ < kFollowing || !side.brisk) return false;
  if (side.resting == 0) return true;
  side.resting--;
  return false;
}

void Conversation::looked(bool rewarded) {
  Side& side = sides_[current_];
  if (rewarded) {
    side.credit = std::min(side.credit + 1, kMostCredit);
    if (side.credit == kMostCredit) side.rest = kLeastRest;
    return;
  }
  side.credit -= kPrice;
  if (side.credit > 0) return;
  side.resting = side.rest;
  side.rest = std::min(side.rest * 4, kMostRest);
  // For one more look, then.
  side.credit = kPrice;
}

void Conversation::heard(const void* source, int64_t waited) {
  sides_[current_].brisk = waited < kBrisk;
  if (source != sides_[current_].source) current_ ^= 1U;
  if (source == sides_[current_].source) {
    following_ = std::min(following_ + 1, kFollowing);
    return;
  }
  sides_[current_] = {.source = source};
  following_ = 0;
}

}  // namespace warren::engine
