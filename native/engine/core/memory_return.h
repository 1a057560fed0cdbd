#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

namespace warren::engine {

// Gives the heap back to the system when a burst of flows and tunnels is over: the C library would keep it for the next
// burst, which may never come. On a thread of its own, because that takes milliseconds which no flow should wait for.
class MemoryReturn {
 public:
  // What they weigh against each other: a tunnel's TLS and HTTP/2 state is that of some dozens of flows.
  static constexpr int64_t kFlow = 1;
  static constexpr int64_t kTunnel = 32;

  MemoryReturn();
  MemoryReturn(const MemoryReturn&) = delete;
  MemoryReturn& operator=(const MemoryReturn&) = delete;
  ~MemoryReturn();

  // Ends the thread; may be called again.
  void stop();
  // From any thread.
  void grew(int64_t weight);
  void shrank(int64_t weight);

 private:
  void loop();

  std::atomic<int64_t> live_{0};
  // Most at once since memory was last given back.
  std::atomic<int64_t> peak_{0};
  std::atomic<bool> due_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace warren::engine
