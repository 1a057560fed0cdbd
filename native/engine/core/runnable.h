#pragma once

#include "engine/base/intrusive_list.h"

namespace warren::engine {

// Something with work left for the end of its worker's turn.
class Runnable {
 public:
  Runnable() : soon(this) {}
  Runnable(const Runnable&) = delete;
  Runnable& operator=(const Runnable&) = delete;
  virtual void run() = 0;

  Hook<Runnable> soon;

 protected:
  ~Runnable() = default;
};

}  // namespace warren::engine
