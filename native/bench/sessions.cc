#include "generators.h"
#include "held_flows.h"

namespace warren::load {

int sessions(const Sessions& load) {
  const std::size_t targets = load.targets.size();
  const std::string* entered = nullptr;
  // Neighbours in the order differ in the target, so that entering a namespace is rare and no peer gets all at once.
  const auto connect = [&](std::uint64_t index) {
    const std::string& netns = load.netns[index / targets];
    if (entered != &netns) enter_netns(netns);
    entered = &netns;
    return start_connect(load.targets[index % targets]);
  };
  HeldFlows flows(load.netns.size() * targets, load.concurrency, connect);
  const Nanoseconds started = now();
  flows.open_all(started + load.deadline);
  const Nanoseconds finished = now();
  flows.report().number("sessions", static_cast<double>(flows.proven()));
  flows.report().number("seconds", static_cast<double>(finished - started) / kSecond);
  flows.report().histogram("latency", flows.latency());
  flows.report().print();
  return flows.proven() == 0 ? 1 : 0;
}

}  // namespace warren::load
