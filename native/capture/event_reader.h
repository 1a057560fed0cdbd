#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

#include "base/fd.h"
#include "result.h"

struct ring_buffer;

namespace warren::capture {

struct KernelEvent {
  std::uint64_t netns_cookie = 0;
  std::uint64_t cgroup_id = 0;
  std::uint32_t kind = 0;
  std::uint32_t pid = 0;
};

// Waits on a thread of its own for records of the ring buffer.
class EventReader {
 public:
  // `deliver` is called on the reader's thread.
  static Result<std::unique_ptr<EventReader>> start(int ring_fd, std::function<void(const KernelEvent&)> deliver);
  ~EventReader();
  EventReader(const EventReader&) = delete;
  EventReader& operator=(const EventReader&) = delete;

 private:
  EventReader() = default;
  static int on_record(void* self, void* data, std::size_t size);
  void loop();

  std::function<void(const KernelEvent&)> deliver_;
  std::unique_ptr<ring_buffer, void (*)(ring_buffer*)> ring_{nullptr, nullptr};
  Fd stop_;
  std::thread thread_;
};

}  // namespace warren::capture
