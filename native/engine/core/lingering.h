#pragma once

#include "base/fd.h"
#include "engine/base/timer_wheel.h"
#include "engine/net/pollable.h"

namespace warren::engine {

class Worker;

// A socket whose flow has ended with a complete answer: closed now, unread bytes of the peer would reset it and the
// answer be lost (RFC 9112 §9.6).
class Lingering final : public Pollable {
 public:
  Lingering(Worker& worker, Fd fd);
  ~Lingering() { end(); }
  void onEvents(uint32_t events) override;
  [[nodiscard]] bool done() const { return !fd_.valid(); }

 private:
  void end();

  Worker& worker_;
  Fd fd_;
  Timer timer_;
};

}  // namespace warren::engine
