#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "engine/base/address.h"
#include "engine/base/intrusive_list.h"
#include "engine/base/timer_wheel.h"
#include "engine/core/events.h"
#include "engine/core/flow.h"
#include "engine/core/group.h"
#include "engine/core/runnable.h"
#include "engine/http2/session_kit.h"
#include "engine/net/pollable.h"
#include "engine/tls/tls_channel.h"

namespace warren::engine {

class Worker;

// One TLS and HTTP/2 connection to a peer, and the flows in it. Outbound tunnels belong to a group's pool, inbound ones
// were accepted on a pod's 15008. A worker owns it alone; what listings show is changed under the lock of the worker's
// tunnel table.
class Tunnel final : public Pollable, public Runnable {
 public:
  struct View {
    bool up = false;
    double setupMs = -1;
    double openedAt = 0;
    uint32_t flows = 0;
    std::string peer;
    std::string version;
    std::string keyExchange;
    std::string cipher;
  };

  Tunnel(Worker& worker, uint64_t id, std::shared_ptr<Group> group);
  Tunnel(Worker& worker, uint64_t id, std::shared_ptr<Pod> pod, Fd fd, const Address& peer);
  Tunnel(const Tunnel&) = delete;
  Tunnel& operator=(const Tunnel&) = delete;
  ~Tunnel();

  [[nodiscard]] uint64_t id() const { return id_; }
  [[nodiscard]] const Pod& pod() const { return *pod_; }
  [[nodiscard]] const std::shared_ptr<Group>& group() const { return group_; }
  [[nodiscard]] bool outbound() const { return group_ != nullptr; }
  [[nodiscard]] bool ready() const { return state_ == State::ready; }
  [[nodiscard]] bool closed() const { return state_ == State::closed; }
  [[nodiscard]] bool empty() const { return flows_.empty(); }
  [[nodiscard]] std::vector<Flow*> flows();
  // Of its flows, waiting for slow readers here.
  [[nodiscard]] int64_t buffered() const { return buffered_; }
  [[nodiscard]] const Address& peerAddress() const { return peerAddress_; }
  [[nodiscard]] const std::shared_ptr<const std::string>& peer() const { return peer_; }
  [[nodiscard]] TunnelRecord record() const;
  View view;

  // Life (tunnel.cc).
  void open();
  void credentialChanged();
  // The pod has another credential: new flows take new tunnels.
  void renew();
  void drain();
  // Ends the tunnel and all its flows with `reason`.
  void close(Reason reason, const std::string& detail = {});
  void retireIfIdle();
  void onEvents(uint32_t events) override;
  void run() override;

  // For flows (tunnel_streams.cc). `join` puts a flow with a seat in; `detach` takes it out and ends its stream as
  // `reason` says.
  void join(Flow& flow);
  void detach(Flow& flow, Reason reason, bool answered);
  void answer(Flow& flow, Reason reason, std::string_view baggage);
  void wantSend(Flow& flow);
  void consume(int32_t stream, size_t bytes);
  // A flow's part of `buffered` grew, or shrank.
  void holds(int64_t more);

  static void installCallbacks(nghttp2_session_callbacks* callbacks);

 private:
  enum class State : uint8_t { idle, connecting, waiting, handshaking, greeting, ready, draining, closed };

  struct Headers {
    std::string method;
    std::string authority;
    std::string baggage;
    std::string forwarded;
    std::string traceparent;
    std::string reason;
    int status = 0;
    size_t size = 0;
    void clear() { *this = Headers{}; }
  };
  struct Callbacks;

  void startTls();
  void connect();
  void connected();
  void handshake();
  void greet();
  void becomeReady();
  void arm(int64_t milliseconds);
  // Its pod has more than the `part`-th part of the tunnels that it may open.
  [[nodiscard]] bool crowded(int64_t part) const;
  void onTimer();
  void onIdle();
  void fail(Reason reason, std::string detail);
  void setupFailed(Reason reason, const std::string& detail);
  void goAway();
  void abandonFlows(Reason reason, const std::string& detail, bool wasReady);
  void wake(const std::vector<Waiter>& waiters);

  void receive();
  void processCipher(std::span<const uint8_t> bytes);
  void processPlain(std::span<const uint8_t> bytes);
  void pump();
  size_t fill();
  // Too little room for another frame.
  [[nodiscard]] bool batchFull() const;
  bool nextTurn();
  void endTurn();
  bool flushOutput();
  [[nodiscard]] bool wantsToSend() const;
  void checkDone();

  void openStream(Flow& flow);
  void onRequest(int32_t stream, bool ended);
  void onSettings();
  void onGoAway(int32_t lastStream);
  void onPong();
  void onStreamClose(int32_t stream, uint32_t code);
  void respond(int32_t stream, Reason reason);
  void rejectRequest(int32_t stream, Reason reason, const std::string& authority);
  ssize_t readFlow(Flow& flow, size_t most, uint32_t& flags);
  bool countFrame();
  // What is buffered is more than the `part`-th part of a limit of the tunnel, its pod or the process.
  [[nodiscard]] bool pressed(int64_t part) const;
  [[nodiscard]] uint32_t window() const;
  uint32_t firstWindow();
  void setNarrow(bool narrow);
  void relax();
  void noteGoAway(const char* how, uint32_t code);

  Worker& worker_;
  const uint64_t id_;
  const std::shared_ptr<Group> group_;
  const std::shared_ptr<Pod> pod_;
  const Address peerAddress_;
  std::shared_ptr<const std::string> peer_;
  State state_ = State::idle;
  Fd fd_;
  bool watched_ = false;
  bool readable_ = false;
  bool writable_ = false;
  bool ended_ = false;
  bool busy_ = false;  // inside nghttp2 or a batch: no re-entry
  bool pongPending_ = false;
  bool goAwaySent_ = false;
  TlsChannel tls_;
  Http2Session session_{nullptr, nghttp2_session_del};
  Headers incoming_;
  std::string errorDetail_;
  Reason failReason_ = Reason::ok;
  std::string failDetail_;
  Timer timer_;
  Timer idleTimer_;
  int64_t startedMicros_ = 0;
  uint32_t streams_ = 0;
  uint32_t capacity_ = 0;
  int64_t buffered_ = 0;
  bool narrow_ = false;
  // Control frames of the current second.
  int64_t frameSecond_ = 0;
  uint32_t frames_ = 0;

  IntrusiveList<Flow> flows_;
  // Flows with something to send: those that were silent before go first, so that a small request does not wait behind
  // bulk.
  IntrusiveList<Flow> fresh_;
  IntrusiveList<Flow> bulk_;
  Flow* turn_ = nullptr;
  bool turnSeen_ = false;
  size_t quota_ = 0;
  size_t granted_ = 0;
  size_t staged_ = 0;
};

}  // namespace warren::engine
