#pragma once

#include <sys/random.h>

#include <array>
#include <bit>
#include <cstdint>

namespace warren::engine {

// xoshiro256++ (Blackman and Vigna, 2019), seeded by the kernel: for weights and trace ids, never for secrets.
class Random {
 public:
  Random() {
    if (getrandom(state_.data(), sizeof state_, 0) != static_cast<ssize_t>(sizeof state_)) state_[0] = 1;
  }
  uint64_t next() {
    const uint64_t result = std::rotl(state_[0] + state_[3], 23) + state_[0];
    const uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }
  // In [0, below).
  double real(double below) { return static_cast<double>(next() >> 11) * 0x1.0p-53 * below; }

 private:
  std::array<uint64_t, 4> state_{};
};

}  // namespace warren::engine
