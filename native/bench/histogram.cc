#include "histogram.h"

#include <algorithm>
#include <bit>

namespace warren::load {

void Histogram::record(std::int64_t nanoseconds) {
  constexpr std::uint64_t kHighest = (std::uint64_t{1} << kValueBits) - 1;
  const std::uint64_t value = std::min(static_cast<std::uint64_t>(std::max<std::int64_t>(nanoseconds, 0)), kHighest);
  counts_[bucket_of(value)]++;
  count_++;
  max_ = std::max(max_, value);
}

// Below 2^8 each value has its own bucket; from there on 128 buckets per power of two.
std::size_t Histogram::bucket_of(std::uint64_t value) {
  if (value < 2 * kSubBuckets) return value;
  const int shift = static_cast<int>(std::bit_width(value)) - kSubBits - 1;
  return 2 * kSubBuckets + static_cast<std::size_t>(shift - 1) * kSubBuckets + ((value >> shift) - kSubBuckets);
}

std::uint64_t Histogram::highest_in(std::size_t bucket) {
  if (bucket < 2 * kSubBuckets) return bucket;
  const std::size_t above = bucket - 2 * kSubBuckets;
  const std::size_t shift = above / kSubBuckets + 1;
  return ((above % kSubBuckets + kSubBuckets + 1) << shift) - 1;
}

std::string Histogram::json() const {
  std::string buckets;
  for (std::size_t bucket = 0; bucket < kBuckets; bucket++) {
    if (counts_[bucket] == 0) continue;
    if (!buckets.empty()) buckets += ',';
    buckets += '[' + std::to_string(highest_in(bucket)) + ',' + std::to_string(counts_[bucket]) + ']';
  }
  return "{\"count\":" + std::to_string(count_) + ",\"max\":" + std::to_string(max_) + ",\"buckets\":[" + buckets +
         "]}";
}

}  // namespace warren::load
