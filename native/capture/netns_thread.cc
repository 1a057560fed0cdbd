#include "netns_thread.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>

#include <cerrno>
#include <cstdlib>
#include <string_view>

namespace warren::capture {

namespace {

[[noreturn]] void die(std::string_view why) {
  // Only write(2): the process is in no state for more.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, why.data(), why.size());
  ::abort();
}

}  // namespace

NetnsThread::~NetnsThread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void NetnsThread::start() {
  if (thread_.joinable()) return;
  // Signals belong to the threads of Node.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { loop(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void NetnsThread::post(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    start();
    jobs_.push_back(std::move(job));
  }
  wake_.notify_one();
}

void NetnsThread::run(const std::function<void()>& job) {
  std::promise<void> done;
  std::future<void> finished = done.get_future();
  post([&job, &done] {
    job();
    done.set_value();
  });
  finished.wait();
}

void NetnsThread::loop() {
  ::pthread_setname_np(::pthread_self(), "warren-netns");
  home_.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!home_.valid()) die("warren: the netns thread cannot open its own network namespace\n");
  for (;;) {
    std::function<void()> job;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job();
  }
}

Result<Unit> NetnsThread::enter(int netns_fd) {
  if (::setns(netns_fd, CLONE_NEWNET) != 0) {
    return system_failure("MESH_NETNS_UNUSABLE", "cannot enter the network namespace", errno);
  }
  return Unit{};
}

Result<Unit> NetnsThread::enter_scratch() {
  if (::unshare(CLONE_NEWNET) != 0) {
    return system_failure("MESH_NETNS_UNUSABLE", "cannot make a network namespace", errno);
  }
  return Unit{};
}

void NetnsThread::leave() {
  if (::setns(home_.get(), CLONE_NEWNET) != 0) {
    die("warren: the netns thread cannot return to its own network namespace; aborting rather than working in a "
        "pod's\n");
  }
}

}  // namespace warren::capture
