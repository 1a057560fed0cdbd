#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <thread>

#include "base/fd.h"
#include "result.h"

namespace warren::capture {

// The one thread of this process that ever enters another network namespace. setns(2) changes the calling thread only,
// so neither the JavaScript thread nor a pool thread may do it: whatever ran there next would talk on a pod's network.
// If the thread cannot come home it aborts the process, because every later socket would be opened in the wrong
// namespace.
class NetnsThread {
 public:
  NetnsThread() = default;
  NetnsThread(const NetnsThread&) = delete;
  NetnsThread& operator=(const NetnsThread&) = delete;
  ~NetnsThread();

  // Runs the job on the thread, at home, some time later. Jobs run one by one in order.
  void post(std::function<void()> job);

  // Runs the job on the thread and waits for it.
  void run(const std::function<void()>& job);

  // To be called by jobs only: enters the namespace, runs, comes home.
  template <class T>
  Result<T> inside(int netns_fd, const std::function<Result<T>()>& visit) {
    return between<T>(enter(netns_fd), visit);
  }

  // As `inside`, in a new namespace that ends with the visit.
  template <class T>
  Result<T> inside_scratch(const std::function<Result<T>()>& visit) {
    return between<T>(enter_scratch(), visit);
  }

 private:
  void start();
  void loop();
  template <class T>
  Result<T> between(const Result<Unit>& entered, const std::function<Result<T>()>& visit) {
    if (!entered.ok()) return entered.failure();
    Result<T> result = visit();
    leave();
    return result;
  }
  static Result<Unit> enter(int netns_fd);
  static Result<Unit> enter_scratch();
  void leave();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> jobs_;
  bool stopping_ = false;
  std::thread thread_;
  Fd home_;
};

}  // namespace warren::capture
