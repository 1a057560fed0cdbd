#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "engine/base/address.h"
#include "engine/base/byte_queue.h"
#include "engine/base/intrusive_list.h"
#include "engine/base/timer_wheel.h"
#include "engine/core/decision.h"
#include "engine/core/events.h"
#include "engine/core/pod.h"
#include "engine/core/runnable.h"
#include "engine/net/pollable.h"

namespace warren::engine {

class Flow;
class Tunnel;
class Worker;

// The end of a flow that asked for it, and the end that it asked for.
enum class Side : uint8_t { source = 0, destination = 1 };
constexpr Side opposite(Side side) {
  return side == Side::source ? Side::destination : Side::source;
}
constexpr size_t at(Side side) {
  return static_cast<size_t>(side);
}

// One socket of a flow. Registered edge-triggered once; the flags remember what the kernel said since.
class FlowSocket final : public Pollable {
 public:
  FlowSocket(Flow& flow, Side side) : flow(flow), side(side) {}
  void onEvents(uint32_t events) override;

  Flow& flow;
  const Side side;
  Fd fd;
  bool watched = false;
  bool connecting = false;
  bool readable = false;
  bool writable = false;
  // The peer sent FIN: a short read does not mean that there is nothing left to read.
  bool ended = false;
};

// What is needed only until a flow relays.
struct Opening {
  std::shared_ptr<const Decision> decision;
  std::shared_ptr<Group> group;
  std::vector<uint16_t> tried;
  uint64_t seat = 0;
  uint16_t current = 0;
  bool again = false;  // a pooled tunnel was found dead once; the same peer got a second chance
  Reason reason = Reason::connectFailed;
  std::string detail;
};

// One application connection being carried: two ends, each a socket or a stream of a tunnel, and the bytes between
// them. Belongs to one worker at a time; what listings show is changed under the lock of the table that it was
// registered in.
class Flow final : public Runnable {
 public:
  struct Birth {
    uint64_t id = 0;
    Role role = Role::outbound;
    std::shared_ptr<Pod> pod;
    Address source;
    Address destination;
  };
  // Behind the lock of the home worker's table.
  struct View {
    unsigned worker = 0;
    uint32_t label = 0;
    uint64_t tunnel = 0;
    Address target;
    std::shared_ptr<const std::string> peer;
  };

  Flow(Worker& home, Birth birth);
  Flow(const Flow&) = delete;
  Flow& operator=(const Flow&) = delete;
  ~Flow();

  [[nodiscard]] uint64_t id() const { return birth_.id; }
  [[nodiscard]] Role role() const { return birth_.role; }
  [[nodiscard]] const std::shared_ptr<Pod>& pod() const { return birth_.pod; }
  [[nodiscard]] const Address& source() const { return birth_.source; }
  [[nodiscard]] const Address& destination() const { return birth_.destination; }
  // A row for listings and closing records; with the table's lock held.
  [[nodiscard]] FlowRecord record() const;
  View view;

  // Life (flow.cc). The first two are for flows that begin with a socket and with a stream.
  void adoptSource(Fd fd);
  void adoptStream(Tunnel& tunnel, int32_t stream, std::string authority, const std::string& traceparent);
  void arrive(const ConnectArrivedRecord* request);
  void decide(const std::shared_ptr<const Decision>& decision);
  void finish(Reason reason, const std::string& detail = {});
  // TypeScript is done with a handed-over flow. What it wrote is delivered first if it `finished` writing.
  void leave(Reason reason, bool finished);
  void moved();
  void run() override;
  void onSocket(FlowSocket& socket, uint32_t events);

  // Opening (flow_open.cc). A seat in a tunnel of this worker or of another, to which the flow then moves.
  void takeSeat(uint64_t tunnel);
  void chooseAgain();
  // Of the CONNECT that asks for this flow: one trace for all attempts.
  [[nodiscard]] std::string traceparent();
  void askedPeer();
  void answered(int status, std::string_view reason);
  void openFailed(Reason reason, std::string detail, bool samePeer);
  [[nodiscard]] bool opening() const { return state_ == State::opening; }
  [[nodiscard]] bool waitsFor(const Group& group) const {
    return state_ == State::opening && opening_->group.get() == &group && opening_->seat == 0 && tunnel_ == nullptr;
  }
  [[nodiscard]] const CarryTarget& carryTarget() const { return opening_->decision->carry[opening_->current]; }
  [[nodiscard]] const Decision& decision() const { return *opening_->decision; }

  // Relaying (flow_relay.cc), for tunnels: bytes out of the flow, bytes into it, and the end of the stream.
  size_t produce(std::span<uint8_t> room, bool& end);
  [[nodiscard]] bool hasInput() const;
  void chunk(const uint8_t* data, size_t size);
  void streamEnded();
  void streamClosed(uint32_t code);
  // After a batch of frames: writes chunks to the socket, passes ends and resets on.
  void settle();

  [[nodiscard]] size_t held() const { return halves_[0].queue.size() + halves_[1].queue.size(); }
  // Of what came from the tunnel.
  [[nodiscard]] size_t heldFromStream() const { return halves_[at(streamSide_)].queue.size(); }
  [[nodiscard]] Tunnel* tunnel() const { return tunnel_; }
  [[nodiscard]] int32_t stream() const { return stream_; }
  void setStream(int32_t stream) { stream_ = stream; }
  void setTunnel(Tunnel* tunnel) { tunnel_ = tunnel; }

  Hook<Flow> inTunnel{this};
  Hook<Flow> inSendQueue{this};
  bool bulk = false;  // its last turn moved much
  bool touched = false;
  int32_t firstChunk = -1;
  int32_t lastChunk = -1;

 private:
  enum class State : uint8_t { deciding, opening, relaying, closed };

  struct Half {
    ByteQueue queue;
    bool endIn = false;   // the side it comes from has ended
    bool endOut = false;  // the end was passed on
  };

  [[nodiscard]] FlowSocket& socket(Side side) { return sockets_[at(side)]; }
  [[nodiscard]] Half& half(Side from) { return halves_[at(from)]; }
  [[nodiscard]] bool isStream(Side side) const { return stream_ > 0 && streamSide_ == side; }
  [[nodiscard]] FlowFacts facts() const;
  // Around every change of `view`.
  [[nodiscard]] std::unique_lock<std::mutex> lockView() const;

  void act(const std::shared_ptr<const Decision>& decision);
  void refuse(Reason reason, const std::string& detail = {});
  void arm(int64_t milliseconds);
  void onTimer();
  void watch(FlowSocket& socket);
  void closeSocket(FlowSocket& socket, bool reset);
  void emitClosed(Reason reason, std::string_view detail);

  void openNext();
  void carryTo(uint16_t index);
  void sitDown();
  void leaveTunnel(Reason reason);
  void moveTo(Worker& to);
  void dialTo(uint16_t index);
  void handOver();
  bool pickTarget(uint16_t& index);
  void dialed();
  void relay();
  void openingTimedOut();

  void pump(Side from);
  void pumpSockets(Side from);
  bool flush(Side from);
  void deliverChunks();
  void passEnd(Side from);
  void socketReset(Side side, int error);
  void count(Side from, size_t bytes);
  void maybeDone();
  void dropHeld();
  void keep(Side from, std::span<const uint8_t> bytes);
  // Counts what waits, against the pod's limit and the tunnel's.
  void holds(Side from, int64_t more);

  Worker* worker_;
  Worker& home_;
  Birth birth_;
  State state_ = State::deciding;
  Side streamSide_ = Side::destination;
  bool answered_ = false;
  bool handedOver_ = false;
  bool leaving_ = false;
  Reason leavingReason_ = Reason::ok;
  bool streamEnd_ = false;
  bool streamGone_ = false;
  uint32_t streamCode_ = 0;
  int pendingError_ = 0;
  Side pendingSide_ = Side::source;
  int32_t stream_ = 0;
  Tunnel* tunnel_ = nullptr;
  std::array<FlowSocket, 2> sockets_;
  std::array<Half, 2> halves_;
  Timer timer_;
  int64_t deadline_ = 0;
  int64_t lastActivity_ = 0;
  int64_t arrivedMicros_;
  double arrivedAt_;
  float connectedMs_ = -1;
  std::atomic<uint64_t> bytes_[2] = {0, 0};
  // Of a CONNECT, as sent; its host is shown where that is a name.
  std::unique_ptr<const std::string> authority_;
  // Kept for the closing record while traces are carried.
  std::unique_ptr<const std::string> traceparent_;
  std::unique_ptr<Opening> opening_;
};

}  // namespace warren::engine
