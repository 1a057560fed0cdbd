#pragma once

#include <cstdint>
#include <ctime>

namespace warren::engine {

inline int64_t readClock(clockid_t clock, int64_t perSecond) {
  timespec at{};
  clock_gettime(clock, &at);
  return static_cast<int64_t>(at.tv_sec) * perSecond + at.tv_nsec / (1'000'000'000 / perSecond);
}

// Monotonic, for durations and deadlines.
inline int64_t monotonicMillis() {
  return readClock(CLOCK_MONOTONIC, 1'000);
}
inline int64_t monotonicMicros() {
  return readClock(CLOCK_MONOTONIC, 1'000'000);
}
// Unix time in milliseconds, for people.
inline double wallMillis() {
  return static_cast<double>(readClock(CLOCK_REALTIME, 1'000'000)) / 1000.0;
}

}  // namespace warren::engine
