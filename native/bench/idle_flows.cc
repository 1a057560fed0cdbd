#include <poll.h>

#include "generators.h"
#include "held_flows.h"

namespace warren::load {

namespace {

constexpr std::uint64_t kAtOnce = 64;

// Standard input ends, or the time is up.
void wait_for_release(Nanoseconds deadline) {
  for (;;) {
    const Nanoseconds left = deadline - now();
    if (left <= 0) return;
    pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    if (poll(&input, 1, static_cast<int>(left / kMillisecond) + 1) <= 0) continue;
    char ignored[256];
    if (read(STDIN_FILENO, ignored, sizeof ignored) <= 0) return;
  }
}

}  // namespace

int idle_flows(const IdleFlows& load) {
  const Nanoseconds started = now();
  const Nanoseconds deadline = started + load.deadline;
  HeldFlows flows(load.flows, kAtOnce, [&](std::uint64_t) { return start_connect(load.target); });
  flows.open_all(deadline);
  flows.report().number("open", static_cast<double>(flows.proven()));
  flows.report().number("seconds", static_cast<double>(now() - started) / kSecond);
  flows.report().print();
  wait_for_release(deadline);
  flows.close_all();
  return 0;
}

}  // namespace warren::load
