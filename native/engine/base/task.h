#pragma once

#include <memory>
#include <utility>

namespace warren::engine {

class Worker;

// Something for a worker to do, posted from another thread. Move-only, so that it may carry descriptors and flows.
class Task {
 public:
  template <typename Body>
  explicit Task(Body body) : body_(std::make_unique<Holder<Body>>(std::move(body))) {}
  void run(Worker& worker) { body_->run(worker); }

 private:
  struct Base {
    Base() = default;
    Base(const Base&) = delete;
    Base& operator=(const Base&) = delete;
    virtual ~Base() = default;
    virtual void run(Worker& worker) = 0;
  };
  template <typename Body>
  struct Holder final : Base {
    explicit Holder(Body body) : held(std::move(body)) {}
    void run(Worker& worker) override { held(worker); }
    Body held;
  };
  std::unique_ptr<Base> body_;
};

}  // namespace warren::engine
