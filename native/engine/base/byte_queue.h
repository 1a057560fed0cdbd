#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/base/counters.h"

namespace warren::engine {

// One block of buffered bytes; `begin` to `end` of what follows it in memory is filled.
struct Segment {
  Segment* next = nullptr;
  uint32_t capacity = 0;
  uint32_t begin = 0;
  uint32_t end = 0;
  uint32_t kind = 0;
  [[nodiscard]] uint8_t* data() { return reinterpret_cast<uint8_t*>(this + 1); }
  [[nodiscard]] uint32_t size() const { return end - begin; }
  [[nodiscard]] uint32_t room() const { return capacity - end; }
};

// Blocks of three sizes for one worker: a queue grows 1 KiB, 16 KiB, 128 KiB with use. Keeps a few free ones and gives
// the rest back.
class SegmentPool {
 public:
  explicit SegmentPool(Counters& counters) : counters_(counters) {}
  SegmentPool(const SegmentPool&) = delete;
  SegmentPool& operator=(const SegmentPool&) = delete;
  ~SegmentPool();

  // A block for `wanted` more bytes behind a queue that already holds `held`.
  Segment* take(size_t wanted, size_t held);
  void give(Segment* segment);
  void trim();
  // Destroys the free ones that nobody has needed since the last call.
  void trimUnused();
  [[nodiscard]] bool hasFree() const { return freeCount_ != std::array<uint32_t, 3>{}; }

 private:
  // The largest holds eight full TLS 1.3 records: 8 × (5 + 16384 + 1 + 16), RFC 8446 §5.2.
  static constexpr std::array<uint32_t, 3> kCapacity = {1024, 17 * 1024, 8 * (16384 + 22) + 1024};
  static constexpr std::array<uint32_t, 3> kKept = {256, 32, 4};

  void destroy(Segment* segment);

  Counters& counters_;
  std::array<Segment*, 3> free_{};
  std::array<uint32_t, 3> freeCount_{};
  // Fewest free since the last `trimUnused`.
  std::array<uint32_t, 3> fewestFree_{};
};

// Bytes waiting for a slow reader, counted in `held`. Empty it holds no memory.
class ByteQueue {
 public:
  ByteQueue() = default;
  ByteQueue(const ByteQueue&) = delete;
  ByteQueue& operator=(const ByteQueue&) = delete;

  [[nodiscard]] size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  void append(SegmentPool& pool, Count& held, std::span<const uint8_t> bytes);
  // Makes one block take the next `bytes` bytes, so that they leave by one system call.
  void expect(SegmentPool& pool, size_t bytes);
  // Up to `parts.size()` spans of the front; returns how many.
  size_t front(std::span<iovec> parts) const;
  void consume(SegmentPool& pool, Count& held, size_t bytes);
  size_t copyOut(SegmentPool& pool, Count& held, std::span<uint8_t> to);
  void clear(SegmentPool& pool, Count& held) { consume(pool, held, size_); }

 private:
  Segment* head_ = nullptr;
  Segment* tail_ = nullptr;
  size_t size_ = 0;
};

}  // namespace warren::engine
