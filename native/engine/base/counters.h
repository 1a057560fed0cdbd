#pragma once

#include <atomic>
#include <cstdint>

namespace warren::engine {

// A number that one worker writes and any thread reads: a plain add for the writer.
class Count {
 public:
  void add(int64_t by) { value_.store(value_.load(std::memory_order_relaxed) + by, std::memory_order_relaxed); }
  [[nodiscard]] int64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

// What one worker counts; the engine sums over workers. Gauges may be negative in one worker: what one made another may
// end.
struct Counters {
  Count flowsOpen;
  Count flowsTotal;
  // Also those that are being set up.
  Count tunnelsHere;
  Count tunnelsOpen;
  Count tunnelsTotal;
  Count handshakesTotal;
  Count handshakesFailedTotal;
  Count rememberedHitsTotal;
  Count decisionsTotal;
  // Bytes that wait for a slow application, and bytes that wait for a slow tunnel.
  Count bufferedBytes;
  Count outputBytes;
  Count memoryBytes;
  Count bytesSentTotal;
  Count bytesReceivedTotal;
  Count retriesTotal;
  Count shedTotal;
  Count acceptPausesTotal;
};

}  // namespace warren::engine
