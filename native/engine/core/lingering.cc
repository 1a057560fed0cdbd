#include "engine/core/lingering.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>

#include "engine/core/worker.h"

namespace warren::engine {

namespace {
constexpr int64_t kLinger = 1000;
}

Lingering::Lingering(Worker& worker, Fd fd)
    : worker_(worker), fd_(std::move(fd)), timer_(this, [](void* self) { static_cast<Lingering*>(self)->end(); }) {
  if (!worker_.watch(*this, fd_.get(), EPOLLIN | EPOLLRDHUP)) fd_.reset();
  worker_.timers().arm(timer_, worker_.now() + kLinger);
}

void Lingering::onEvents(uint32_t) {
  // MSG_TRUNC drops the bytes without a copy (tcp(7)).
  const ssize_t got = recv(fd_.get(), nullptr, Scratch::kCipher, MSG_TRUNC);
  if (got == 0 || (got < 0 && errno != EAGAIN)) end();
}

void Lingering::end() {
  if (!fd_.valid()) return;
  worker_.unwatch(*this, fd_.get());
  timer_.cancel();
  fd_.reset();
}

}  // namespace warren::engine
