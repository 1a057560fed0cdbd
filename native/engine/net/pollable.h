#pragma once

#include <cstdint>

namespace warren::engine {

// Something that a worker's epoll set points at.
class Pollable {
 public:
  Pollable() = default;
  Pollable(const Pollable&) = delete;
  Pollable& operator=(const Pollable&) = delete;
  virtual void onEvents(uint32_t events) = 0;

 protected:
  ~Pollable() = default;
};

}  // namespace warren::engine
