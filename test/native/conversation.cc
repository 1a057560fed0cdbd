// Says for each case `ok` or `not ok` and what it is about; conversation.test.ts builds and runs it.
#include "engine/core/conversation.h"

#include <cstdio>

using warren::engine::Conversation;

namespace {

constexpr int64_t kSoon = 10;
constexpr int64_t kLate = 1'000;
const int kFlow = 0;
const int kTunnel = 0;
const int kStranger = 0;

void expect(bool holds, const char* what) {
  std::printf("%s %s\n", holds ? "ok" : "not ok", what);
}

// A flow and its tunnel in turns, until the last event is the flow's; after it the tunnel is awaited.
Conversation begun(int64_t waited = kSoon) {
  Conversation conversation;
  for (int i = 0; i < 5; i++) {
    conversation.heard(&kTunnel, waited);
    conversation.heard(&kFlow, waited);
  }
  return conversation;
}

// Waits that are sat out before the next look.
int restsOf(Conversation& conversation) {
  int rests = 0;
  while (rests < 1'000 && !conversation.looksOn()) rests++;
  return rests;
}

void whenToLook() {
  Conversation fresh;
  expect(!fresh.looksOn(), "does not look before anything was said");
  for (int i = 0; i < 3; i++) {
    fresh.heard(&kTunnel, kSoon);
    fresh.heard(&kFlow, kSoon);
  }
  expect(fresh.looksOn(), "looks on when a flow and its tunnel have spoken in turns");

  Conversation alone;
  for (int i = 0; i < 5; i++) alone.heard(&kFlow, kSoon);
  expect(alone.looksOn(), "looks on for a flow that speaks alone");

  expect(!begun(kLate).looksOn(), "does not look where answers come late");

  Conversation interrupted = begun();
  interrupted.interrupted();
  expect(!interrupted.looksOn(), "does not look once several spoke at a time");
  interrupted.heard(&kTunnel, kSoon);
  interrupted.heard(&kFlow, kSoon);
  interrupted.heard(&kTunnel, kSoon);
  expect(!interrupted.looksOn(), "nor soon after that");
  interrupted.heard(&kFlow, kSoon);
  expect(interrupted.looksOn(), "but when the two have gone on for a while");

  Conversation crowded = begun();
  crowded.heard(&kStranger, kSoon);
  expect(!crowded.looksOn(), "does not look when somebody else speaks");

  Conversation unheard = begun();
  unheard.unheard();
  expect(!unheard.looksOn(), "does not look when it is not known how soon the next one came");
}

void eachSideForItself() {
  Conversation conversation;
  // The application answers at once, the other node after its round trip.
  for (int i = 0; i < 5; i++) {
    conversation.heard(&kTunnel, kLate);
    conversation.heard(&kFlow, kSoon);
  }
  expect(!conversation.looksOn(), "does not look for the side that is slow");
  conversation.heard(&kTunnel, kLate);
  expect(conversation.looksOn(), "and does for the one that is quick");
}

void whatLooksCost() {
  Conversation vain = begun();
  vain.looked(false);
  expect(restsOf(vain) == 16, "sits sixteen waits out after a look in vain");
  vain.looked(false);
  expect(restsOf(vain) == 64, "and four times as many after another");
  vain.looked(false);
  vain.looked(false);
  expect(restsOf(vain) == 256, "up to 256");
  for (int i = 0; i < 12; i++) vain.looked(true);
  for (int i = 0; i < 3; i++) vain.looked(false);
  expect(vain.looksOn(), "looks that were rewarded pay for some that were not");
  vain.looked(false);
  expect(restsOf(vain) == 16, "and make it patient again");

  Conversation other = begun();
  other.looked(false);
  other.heard(&kTunnel, kSoon);
  expect(other.looksOn(), "what one side costs the other does not pay");
}

}  // namespace

int main() {
  whenToLook();
  eachSideForItself();
  whatLooksCost();
  return 0;
}
