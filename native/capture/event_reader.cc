#include "event_reader.h"

#include <bpf/libbpf.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "bpf_object.h"
#include "shared.h"

namespace warren::capture {

Result<std::unique_ptr<EventReader>> EventReader::start(int ring_fd, std::function<void(const KernelEvent&)> deliver) {
  std::unique_ptr<EventReader> reader(new EventReader());  // NOLINT(modernize-make-unique): private constructor
  reader->deliver_ = std::move(deliver);
  reader->stop_.reset(::eventfd(0, EFD_CLOEXEC));
  if (!reader->stop_.valid()) return system_failure(kBpfFailed, "cannot make an eventfd", errno);
  reader->ring_ = {::ring_buffer__new(ring_fd, on_record, reader.get(), nullptr), ::ring_buffer__free};
  if (!reader->ring_) return system_failure(kBpfFailed, "cannot read the event ring", errno);
  // Signals belong to the threads of Node.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  reader->thread_ = std::thread([self = reader.get()] { self->loop(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return reader;
}

EventReader::~EventReader() {
  if (!thread_.joinable()) return;
  ::eventfd_write(stop_.get(), 1);
  thread_.join();
}

int EventReader::on_record(void* self, void* data, std::size_t size) {
  warren_event record{};
  if (size < sizeof record) return 0;
  std::memcpy(&record, data, sizeof record);
  static_cast<EventReader*>(self)->deliver_({record.netns_cookie, record.cgroup_id, record.kind, record.pid});
  return 0;
}

void EventReader::loop() {
  ::pthread_setname_np(::pthread_self(), "warren-events");
  pollfd waits[2] = {{stop_.get(), POLLIN, 0}, {::ring_buffer__epoll_fd(ring_.get()), POLLIN, 0}};
  for (;;) {
    if (::poll(waits, 2, -1) < 0 && errno != EINTR) return;
    if ((waits[0].revents & POLLIN) != 0) return;
    ::ring_buffer__consume(ring_.get());
  }
}

}  // namespace warren::capture
