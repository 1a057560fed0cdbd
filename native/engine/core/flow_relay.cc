// The bytes of a relaying flow. Towards a stream they are pulled by the tunnel when it can send; towards a socket they
// are pushed, and what the socket does not take waits in the half's queue. Only sockets that keep up are read, so a
// slow reader slows its writer.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "engine/core/engine.h"
#include "engine/core/flow.h"
#include "engine/core/worker.h"
#include "engine/net/error_text.h"

namespace warren::engine {

namespace {
// What a plain relay may move before others get their turn.
constexpr size_t kTurn = size_t{512} * 1024;
constexpr size_t kMostParts = 64;
constexpr uint32_t kNoError = 0;
constexpr int32_t kStreamClosed = -1;
}  // namespace

void Flow::count(Side from, size_t bytes) {
  auto& total = bytes_[at(from)];
  total.store(total.load(std::memory_order_relaxed) + bytes, std::memory_order_relaxed);
  Counters& counters = worker_->counters();
  (from == Side::source ? counters.bytesSentTotal : counters.bytesReceivedTotal).add(static_cast<int64_t>(bytes));
  lastActivity_ = worker_->now();
}

bool Flow::hasInput() const {
  if (state_ != State::relaying || !isStream(streamSide_)) return false;
  const Side reader = opposite(streamSide_);
  return sockets_[at(reader)].readable && !halves_[at(reader)].endIn;
}

size_t Flow::produce(std::span<uint8_t> room, bool& end) {
  end = false;
  if (!hasInput()) return 0;
  const Side from = opposite(streamSide_);
  FlowSocket& in = socket(from);
  const ssize_t got = recv(in.fd.get(), room.data(), room.size(), 0);
  if (got > 0) {
    if (static_cast<size_t>(got) < room.size() && !in.ended) in.readable = false;
    count(from, static_cast<size_t>(got));
    return static_cast<size_t>(got);
  }
  if (got == 0) {
    end = true;
    half(from).endIn = half(from).endOut = true;
    worker_->touch(*this);
    return 0;
  }
  in.readable = false;
  if (errno != EAGAIN) {
    // Not here: this is inside nghttp2.
    pendingError_ = errno;
    pendingSide_ = from;
    worker_->soon(*this);
  }
  return 0;
}

void Flow::keep(Side from, std::span<const uint8_t> bytes) {
  half(from).queue.append(worker_->segments(), worker_->counters().bufferedBytes, bytes);
  holds(from, static_cast<int64_t>(bytes.size()));
  worker_->checkMemory(birth_.pod);
}

void Flow::holds(Side from, int64_t more) {
  birth_.pod->buffered.fetch_add(more, std::memory_order_relaxed);
  if (tunnel_ != nullptr && from == streamSide_) tunnel_->holds(more);
}

void Flow::pump(Side from) {
  const Side to = opposite(from);
  if (isStream(to)) {
    if (hasInput()) tunnel_->wantSend(*this);
  } else if (streamSide_ == from && !socket(from).fd.valid()) {
    // From a stream, or from what a stream left behind.
    if (flush(from)) passEnd(from);
  } else {
    pumpSockets(from);
  }
}

bool Flow::flush(Side from) {
  Half& half = this->half(from);
  FlowSocket& out = socket(opposite(from));
  std::array<iovec, 16> parts{};
  while (!half.queue.empty()) {
    if (!out.writable) return false;
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = half.queue.front(parts);
    const ssize_t sent = sendmsg(out.fd.get(), &message, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EAGAIN) {
        out.writable = false;
        return false;
      }
      socketReset(out.side, errno);
      return false;
    }
    half.queue.consume(worker_->segments(), worker_->counters().bufferedBytes, static_cast<size_t>(sent));
    holds(from, -static_cast<int64_t>(sent));
    count(from, static_cast<size_t>(sent));
    if (isStream(from) && !half.endIn) tunnel_->consume(stream_, static_cast<size_t>(sent));
  }
  return true;
}

void Flow::pumpSockets(Side from) {
  Half& half = this->half(from);
  FlowSocket& in = socket(from);
  FlowSocket& out = socket(opposite(from));
  uint8_t* buffer = worker_->scratch().plain.get();
  // What is read and not taken waits here: half of the flow's limit each way.
  const auto limit = static_cast<size_t>(worker_->engine().options().limits.bufferPerFlow / 2);
  const size_t most = std::clamp<size_t>(limit, 1, Scratch::kPlain);
  for (size_t moved = 0; moved < kTurn;) {
    if (!flush(from)) return;
    if (half.endIn) return passEnd(from);
    if (!in.readable || !out.writable) return;
    const ssize_t got = recv(in.fd.get(), buffer, most, 0);
    if (got == 0) {
      half.endIn = true;
      continue;
    }
    if (got < 0) {
      in.readable = false;
      if (errno != EAGAIN) socketReset(from, errno);
      return;
    }
    const auto size = static_cast<size_t>(got);
    if (size < most && !in.ended) in.readable = false;
    moved += size;
    ssize_t sent = send(out.fd.get(), buffer, size, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno != EAGAIN) return socketReset(out.side, errno);
      sent = 0;
    }
    count(from, static_cast<size_t>(sent));
    if (static_cast<size_t>(sent) < size) {
      out.writable = false;
      keep(from, {buffer + sent, size - static_cast<size_t>(sent)});
    }
  }
  worker_->soon(*this);
}

void Flow::chunk(const uint8_t* data, size_t size) {
  std::vector<Chunk>& chunks = worker_->scratch().chunks;
  const auto index = static_cast<int32_t>(chunks.size());
  chunks.push_back({data, size, -1});
  if (firstChunk < 0) {
    firstChunk = index;
  } else {
    chunks[static_cast<size_t>(lastChunk)].next = index;
  }
  lastChunk = index;
  worker_->touch(*this);
}

void Flow::streamEnded() {
  streamEnd_ = true;
  worker_->touch(*this);
}

void Flow::streamClosed(uint32_t code) {
  streamGone_ = true;
  streamCode_ = code;
  worker_->touch(*this);
}

void Flow::deliverChunks() {
  Half& half = this->half(streamSide_);
  FlowSocket& out = socket(opposite(streamSide_));
  const std::vector<Chunk>& chunks = worker_->scratch().chunks;
  std::array<iovec, kMostParts> parts{};
  size_t taken = 0;
  int32_t next = std::exchange(firstChunk, -1);
  while (next >= 0 && state_ != State::closed) {
    size_t count = 0;
    size_t total = 0;
    for (; next >= 0 && count < parts.size(); next = chunks[static_cast<size_t>(next)].next) {
      const Chunk& chunk = chunks[static_cast<size_t>(next)];
      parts[count++] = {const_cast<uint8_t*>(chunk.data), chunk.size};
      total += chunk.size;
    }
    ssize_t sent = 0;
    if (state_ == State::relaying && half.queue.empty() && out.writable) {
      msghdr message{};
      message.msg_iov = parts.data();
      message.msg_iovlen = count;
      sent = count == 1 ? send(out.fd.get(), parts[0].iov_base, total, MSG_NOSIGNAL)
                        : sendmsg(out.fd.get(), &message, MSG_NOSIGNAL);
      if (sent < 0) {
        if (errno != EAGAIN) return socketReset(out.side, errno);
        sent = 0;
      }
      if (static_cast<size_t>(sent) < total) out.writable = false;
    }
    taken += static_cast<size_t>(sent);
    auto skip = static_cast<size_t>(sent);
    for (size_t i = 0; i < count; i++) {
      const std::span<const uint8_t> part{static_cast<const uint8_t*>(parts[i].iov_base), parts[i].iov_len};
      const size_t cut = std::min(skip, part.size());
      skip -= cut;
      if (cut < part.size()) keep(streamSide_, part.subspan(cut));
    }
  }
  if (taken > 0) {
    count(streamSide_, taken);
    if (isStream(streamSide_) && !streamEnd_) tunnel_->consume(stream_, taken);
  }
}

void Flow::settle() {
  touched = false;
  if (state_ == State::closed) return;
  if (firstChunk >= 0) deliverChunks();
  if (state_ == State::closed) return;
  if (streamEnd_) half(streamSide_).endIn = true;
  if (streamGone_) {
    streamGone_ = false;
    stream_ = kStreamClosed;
    if (state_ == State::opening && streamSide_ == Side::destination) {
      const bool unprocessed = streamCode_ == NGHTTP2_REFUSED_STREAM;
      return openFailed(Reason::peerRefused, nghttp2_http2_strerror(streamCode_), unprocessed);
    }
    const bool clean = streamCode_ == kNoError && half(streamSide_).endIn && state_ == State::relaying;
    tunnel_->detach(*this, Reason::ok, true);
    tunnel_ = nullptr;
    if (!clean) return finish(streamSide_ == Side::source ? Reason::resetBySource : Reason::resetByDestination);
    // The peer took all it wanted: what the application still says has no reader.
    Half& back = half(opposite(streamSide_));
    back.endIn = back.endOut = true;
  }
  if (state_ != State::relaying) return;
  pump(streamSide_);
  if (state_ == State::relaying) maybeDone();
}

void Flow::passEnd(Side from) {
  Half& half = this->half(from);
  if (!half.endIn || half.endOut) return maybeDone();
  half.endOut = true;
  shutdown(socket(opposite(from)).fd.get(), SHUT_WR);
  maybeDone();
}

void Flow::maybeDone() {
  if (state_ != State::relaying) return;
  if (leaving_ && half(Side::destination).endOut) return finish(leavingReason_);
  if (halves_[0].endOut && halves_[1].endOut) return finish(Reason::ok);
  const int64_t limit = worker_->engine().options().timeouts.halfClosed;
  const bool halfClosed = halves_[0].endIn || halves_[1].endIn;
  if (halfClosed && limit > 0 && !(timer_.armed() && deadline_ <= worker_->now() + limit)) arm(limit);
}

void Flow::socketReset(Side side, int error) {
  pendingError_ = 0;
  const bool source = side == Side::source;
  // Nobody reads any longer what the source says, which is no end of the answer to it.
  if (leaving_ && !source) return;
  if (state_ == State::deciding || state_ == State::opening || error == ECONNRESET || error == EPIPE) {
    return finish(source ? Reason::resetBySource : Reason::resetByDestination);
  }
  finish(source ? Reason::resetBySource : Reason::resetByDestination, errorText(error));
}

}  // namespace warren::engine
