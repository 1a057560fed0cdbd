#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace warren::load {

// Counts of durations in buckets whose width grows with the value, as HdrHistogram does it: any value below 2^40 ns (18
// minutes) is known to better than 1 %, in a fixed amount of memory, and recording is a few instructions.
class Histogram {
 public:
  void record(std::int64_t nanoseconds);
  [[nodiscard]] std::uint64_t count() const { return count_; }
  // {"count":…,"max":…,"buckets":[[highest value of the bucket in ns, count],…]}, empty buckets left out.
  [[nodiscard]] std::string json() const;

 private:
  static constexpr int kSubBits = 7;
  static constexpr std::uint64_t kSubBuckets = 1U << kSubBits;
  static constexpr int kValueBits = 40;
  static constexpr std::size_t kBuckets = 2 * kSubBuckets + (kValueBits - kSubBits - 1) * kSubBuckets;

  static std::size_t bucket_of(std::uint64_t value);
  static std::uint64_t highest_in(std::size_t bucket);

  std::array<std::uint64_t, kBuckets> counts_{};
  std::uint64_t count_ = 0;
  std::uint64_t max_ = 0;
};

}  // namespace warren::load
