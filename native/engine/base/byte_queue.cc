#include "engine/base/byte_queue.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

namespace warren::engine {

SegmentPool::~SegmentPool() {
  trim();
}

Segment* SegmentPool::take(size_t wanted, size_t held) {
  const size_t aim = std::max(wanted, held);
  uint32_t kind = 0;
  while (kind + 1 < kCapacity.size() && aim > kCapacity[kind]) kind++;
  if (free_[kind] != nullptr) {
    Segment* segment = std::exchange(free_[kind], free_[kind]->next);
    fewestFree_[kind] = std::min(fewestFree_[kind], --freeCount_[kind]);
    segment->next = nullptr;
    segment->begin = segment->end = 0;
    return segment;
  }
  fewestFree_[kind] = 0;
  const size_t bytes = sizeof(Segment) + kCapacity[kind];
  auto* segment = std::construct_at(static_cast<Segment*>(::operator new(bytes)));
  segment->capacity = kCapacity[kind];
  segment->kind = kind;
  counters_.memoryBytes.add(static_cast<int64_t>(bytes));
  return segment;
}

void SegmentPool::give(Segment* segment) {
  const uint32_t kind = segment->kind;
  if (freeCount_[kind] >= kKept[kind]) {
    destroy(segment);
    return;
  }
  segment->next = free_[kind];
  free_[kind] = segment;
  freeCount_[kind]++;
}

void SegmentPool::destroy(Segment* segment) {
  counters_.memoryBytes.add(-static_cast<int64_t>(sizeof(Segment) + segment->capacity));
  ::operator delete(segment);
}

void SegmentPool::trim() {
  fewestFree_ = freeCount_;
  trimUnused();
}

void SegmentPool::trimUnused() {
  for (size_t kind = 0; kind < free_.size(); kind++) {
    for (; fewestFree_[kind] > 0; fewestFree_[kind]--) {
      destroy(std::exchange(free_[kind], free_[kind]->next));
      freeCount_[kind]--;
    }
  }
  fewestFree_ = freeCount_;
}

void ByteQueue::append(SegmentPool& pool, Count& held, std::span<const uint8_t> bytes) {
  held.add(static_cast<int64_t>(bytes.size()));
  while (!bytes.empty()) {
    if (tail_ == nullptr || tail_->room() == 0) {
      Segment* segment = pool.take(bytes.size(), size_);
      if (tail_ == nullptr) {
        head_ = tail_ = segment;
      } else {
        tail_ = tail_->next = segment;
      }
    }
    const size_t part = std::min<size_t>(tail_->room(), bytes.size());
    std::memcpy(tail_->data() + tail_->end, bytes.data(), part);
    tail_->end += static_cast<uint32_t>(part);
    size_ += part;
    bytes = bytes.subspan(part);
  }
}

void ByteQueue::expect(SegmentPool& pool, size_t bytes) {
  if (size_ != 0) return;
  if (tail_ != nullptr && tail_->room() >= bytes) return;
  if (tail_ != nullptr) pool.give(tail_);
  head_ = tail_ = pool.take(bytes, 0);
}

size_t ByteQueue::front(std::span<iovec> parts) const {
  size_t count = 0;
  for (Segment* segment = head_; segment != nullptr && count < parts.size(); segment = segment->next) {
    parts[count++] = {segment->data() + segment->begin, segment->size()};
  }
  return count;
}

void ByteQueue::consume(SegmentPool& pool, Count& held, size_t bytes) {
  held.add(-static_cast<int64_t>(bytes));
  size_ -= bytes;
  while (head_ != nullptr && bytes >= head_->size()) {
    bytes -= head_->size();
    pool.give(std::exchange(head_, head_->next));
  }
  if (head_ != nullptr) {
    head_->begin += static_cast<uint32_t>(bytes);
  } else {
    tail_ = nullptr;
  }
}

size_t ByteQueue::copyOut(SegmentPool& pool, Count& held, std::span<uint8_t> to) {
  size_t copied = 0;
  for (Segment* segment = head_; segment != nullptr && copied < to.size(); segment = segment->next) {
    const size_t part = std::min<size_t>(segment->size(), to.size() - copied);
    std::memcpy(to.data() + copied, segment->data() + segment->begin, part);
    copied += part;
  }
  consume(pool, held, copied);
  return copied;
}

}  // namespace warren::engine
