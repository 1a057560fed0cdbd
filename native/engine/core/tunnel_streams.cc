// HTTP/2 of a tunnel: nghttp2's callbacks, CONNECT in both directions, and what flows ask of their streams.
#include <algorithm>
#include <array>
#include <cstring>

#include "engine/core/engine.h"
#include "engine/core/tunnel.h"
#include "engine/core/worker.h"
#include "engine/http2/authority.h"

namespace warren::engine {

namespace {

constexpr size_t kFrameHeader = 9;
constexpr uint32_t kSmallFrame = 16'384;
constexpr size_t kHeaderOverhead = 32;  // RFC 9113 §6.5.2
constexpr size_t kMostShown = 8192;
// Frames of one second that carry no bytes of applications; far above what a full tunnel of opening and closing flows
// makes, and what floods of PING, SETTINGS, RST_STREAM, WINDOW_UPDATE or empty DATA are cut at.
constexpr uint32_t kMostFramesPerSecond = 100'000;

std::string_view textOf(const uint8_t* bytes, size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

nghttp2_nv header(std::string_view name, std::string_view value) {
  return {const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(name.data())),
          const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(value.data())), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NONE};
}

// Repeated fields are one list (RFC 9110 §5.3). What is not plain text counts as absent.
void addField(std::string& to, std::string_view text) {
  if (!isPlainText(text, kMostShown) || to.size() + text.size() > kMostShown) return;
  if (!to.empty()) to.append(", ");
  to.append(text);
}

}  // namespace

// nghttp2 calls back with the tunnel as user data and a stream's flow as stream user data.
struct Tunnel::Callbacks {
  static Tunnel& of(void* user) { return *static_cast<Tunnel*>(user); }
  static Flow* flowOf(nghttp2_session* session, int32_t stream) {
    return static_cast<Flow*>(nghttp2_session_get_stream_user_data(session, stream));
  }

  static ssize_t read(nghttp2_session* session, int32_t stream, uint8_t*, size_t length, uint32_t* flags,
                      nghttp2_data_source*, void* user) {
    // The flow may be gone while its stream's reset waits to be sent.
    Flow* flow = flowOf(session, stream);
    return flow == nullptr ? static_cast<ssize_t>(NGHTTP2_ERR_DEFERRED) : of(user).readFlow(*flow, length, *flags);
  }

  // The payload already stands in the batch, behind room for this header.
  static int sendData(nghttp2_session*, nghttp2_frame*, const uint8_t* header, size_t length, nghttp2_data_source*,
                      void* user) {
    Tunnel& tunnel = of(user);
    std::memcpy(tunnel.worker_.scratch().batch.get() + tunnel.staged_, header, kFrameHeader);
    tunnel.staged_ += kFrameHeader + length;
    return 0;
  }

  // nghttp2 keeps room for the largest frame that was ever allowed, per tunnel: only bulk is worth that.
  static ssize_t frameSize(nghttp2_session*, uint8_t, int32_t, int32_t connectionWindow, int32_t streamWindow,
                           uint32_t peerFrameSize, void* user) {
    const Flow* flow = of(user).turn_;
    const auto window = static_cast<uint32_t>(std::max(1, std::min(connectionWindow, streamWindow)));
    const uint32_t most = flow != nullptr && flow->bulk ? Scratch::kBatch : kSmallFrame;
    return static_cast<ssize_t>(std::min({window, peerFrameSize, most}));
  }

  static int beginHeaders(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    // A push, which our SETTINGS forbade before there was a request to push for.
    if (frame->hd.type != NGHTTP2_HEADERS) return NGHTTP2_ERR_CALLBACK_FAILURE;
    Tunnel& tunnel = of(user);
    tunnel.incoming_.clear();
    // From here on nghttp2 tells of the stream's end, of one that turns out malformed too.
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) tunnel.streams_++;
    return 0;
  }

  static int onHeader(nghttp2_session*, const nghttp2_frame*, const uint8_t* name, size_t nameSize,
                      const uint8_t* value, size_t valueSize, uint8_t, void* user) {
    Tunnel& tunnel = of(user);
    Headers& to = tunnel.incoming_;
    to.size += nameSize + valueSize + kHeaderOverhead;
    if (to.size > static_cast<size_t>(tunnel.worker_.engine().options().limits.headerListSize)) {
      return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    const std::string_view key = textOf(name, nameSize);
    const std::string_view text = textOf(value, valueSize);
    if (key == ":method") to.method = text;
    if (key == ":authority") to.authority = text;
    if (key == ":status" && text.size() == 3) to.status = std::atoi(std::string(text).c_str());
    if (key == "baggage") addField(to.baggage, text);
    if (key == "forwarded") addField(to.forwarded, text);
    if (key == "traceparent" && isTraceparent(text)) to.traceparent = text;
    if (key == "x-warren-reason" && isPlainText(text, 64)) to.reason = text;
    return 0;
  }

  static int onFrame(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    Tunnel& tunnel = of(user);
    const bool ended = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    const bool data = frame->hd.type == NGHTTP2_DATA;
    if ((!data || frame->hd.length == 0) && !tunnel.countFrame()) return NGHTTP2_ERR_CALLBACK_FAILURE;
    switch (frame->hd.type) {
      case NGHTTP2_HEADERS:
        if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
          tunnel.onRequest(frame->hd.stream_id, ended);
          return 0;
        }
        if (Flow* flow = flowOf(session, frame->hd.stream_id)) {
          if (frame->headers.cat == NGHTTP2_HCAT_RESPONSE && tunnel.incoming_.status >= 200) {
            flow->answered(tunnel.incoming_.status, tunnel.incoming_.reason);
          }
        }
        break;
      case NGHTTP2_SETTINGS:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) tunnel.onSettings();
        return 0;
      case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) tunnel.onPong();
        return 0;
      case NGHTTP2_GOAWAY:
        tunnel.noteGoAway("received", frame->goaway.error_code);
        tunnel.onGoAway(frame->goaway.last_stream_id);
        return 0;
      default:
        break;
    }
    if (ended && (data || frame->hd.type == NGHTTP2_HEADERS)) {
      if (Flow* flow = flowOf(session, frame->hd.stream_id)) flow->streamEnded();
    }
    return 0;
  }

  static int onData(nghttp2_session* session, uint8_t, int32_t stream, const uint8_t* bytes, size_t size, void* user) {
    // The tunnel's window is given back at once and only the stream's waits for the application: one slow reader never
    // stops others.
    nghttp2_session_consume_connection(session, size);
    if (Flow* flow = flowOf(session, stream)) {
      flow->chunk(bytes, size);
    } else {
      of(user).consume(stream, size);
    }
    return 0;
  }

  static int onStreamClosed(nghttp2_session* session, int32_t stream, uint32_t code, void* user) {
    if (Flow* flow = flowOf(session, stream)) flow->streamClosed(code);
    of(user).onStreamClose(stream, code);
    return 0;
  }

  // A refusal ended our side; this ends the client's, so that the stream does not count any longer (RFC 9113 §8.1).
  static int onSent(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    const bool ended = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_HEADERS && ended && !of(user).outbound()) {
      nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    }
    if (frame->hd.type == NGHTTP2_GOAWAY) of(user).noteGoAway("sent", frame->goaway.error_code);
    return 0;
  }

  static int onError(nghttp2_session*, int, const char* message, size_t size, void* user) {
    of(user).errorDetail_.assign(message, std::min<size_t>(size, 256));
    return 0;
  }
};

void Tunnel::installCallbacks(nghttp2_session_callbacks* to) {
  nghttp2_session_callbacks_set_send_data_callback(to, Callbacks::sendData);
  nghttp2_session_callbacks_set_data_source_read_length_callback(to, Callbacks::frameSize);
  nghttp2_session_callbacks_set_on_begin_headers_callback(to, Callbacks::beginHeaders);
  nghttp2_session_callbacks_set_on_header_callback(to, Callbacks::onHeader);
  nghttp2_session_callbacks_set_on_frame_recv_callback(to, Callbacks::onFrame);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(to, Callbacks::onData);
  nghttp2_session_callbacks_set_on_stream_close_callback(to, Callbacks::onStreamClosed);
  nghttp2_session_callbacks_set_on_frame_send_callback(to, Callbacks::onSent);
  nghttp2_session_callbacks_set_error_callback2(to, Callbacks::onError);
}

// A connection that ends with an error says which one, unless nghttp2 said more.
void Tunnel::noteGoAway(const char* how, uint32_t code) {
  if (code == NGHTTP2_NO_ERROR || !errorDetail_.empty()) return;
  errorDetail_ = std::string(how) + " GOAWAY " + nghttp2_http2_strerror(code);
}

bool Tunnel::countFrame() {
  const int64_t second = worker_.now() / 1000;
  if (second != frameSecond_) {
    frameSecond_ = second;
    frames_ = 0;
  }
  if (++frames_ <= kMostFramesPerSecond) return true;
  nghttp2_session_terminate_session(session_.get(), NGHTTP2_ENHANCE_YOUR_CALM);
  fail(Reason::h2Failed, "a flood of HTTP/2 frames");
  return false;
}

void Tunnel::onSettings() {
  if (outbound()) {
    const uint32_t most = nghttp2_session_get_remote_settings(session_.get(), NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    uint32_t excess = 0;
    const auto seated = group_->setCapacity(id_, most, excess);
    capacity_ = most;
    worker_.engine().seatWaiters(group_, id_, seated);
  }
  if (state_ != State::greeting) return;
  becomeReady();
  if (!outbound()) return;
  flows_.forEach([&](Flow& flow) {
    // Seats that the peer turned out not to have are given up; their flows look elsewhere.
    if (streams_ < capacity_) {
      openStream(flow);
    } else {
      flow.chooseAgain();
    }
  });
}

void Tunnel::join(Flow& flow) {
  flow.setTunnel(this);
  flows_.pushBack(flow.inTunnel);
  idleTimer_.cancel();
  {
    const std::lock_guard lock(worker_.tunnelTable().mutex);
    view.flows++;
  }
  if (state_ == State::ready) openStream(flow);
}

void Tunnel::openStream(Flow& flow) {
  const CarryTarget& target = flow.carryTarget();
  const Decision& decision = flow.decision();
  const std::string forwarded = formatForwarded(flow.source(), decision.forwardedHost);
  const std::string trace = flow.traceparent();
  std::array<nghttp2_nv, 5> headers = {header(":method", "CONNECT"), header(":authority", target.authority),
                                       header("forwarded", forwarded), header("traceparent", trace),
                                       header("baggage", decision.baggage)};
  const size_t count = decision.baggage.empty() ? 4 : 5;
  nghttp2_data_provider provider{};
  provider.read_callback = Callbacks::read;
  const int32_t stream = nghttp2_submit_request(session_.get(), nullptr, headers.data(), count, &provider, &flow);
  if (stream < 0) {
    // Out of stream numbers, or the peer is going away.
    wake(group_->remove(id_));
    state_ = State::draining;
    return flow.chooseAgain();
  }
  streams_++;
  flow.setStream(stream);
  flow.askedPeer();
  worker_.soon(*this);
}

void Tunnel::onRequest(int32_t stream, bool ended) {
  idleTimer_.cancel();
  const Headers& request = incoming_;
  if (request.method != "CONNECT") return rejectRequest(stream, Reason::notConnect, request.authority);
  const auto authority = parseAuthority(request.authority);
  if (!authority) return rejectRequest(stream, Reason::badAuthority, request.authority);
  if (!authority->address.none() && !pod_->has(authority->address)) {
    return rejectRequest(stream, Reason::notThisPod, request.authority);
  }
  Engine& engine = worker_.engine();
  if (!engine.admit(*pod_)) {
    worker_.counters().shedTotal.add(1);
    return rejectRequest(stream, Reason::limitFlows, request.authority);
  }
  Flow::Birth birth{worker_.nextId(), Role::inboundHbone, pod_, peerAddress_, authority->address};
  Flow& flow = worker_.addFlow(std::move(birth));
  flow.adoptStream(*this, stream, request.authority, request.traceparent);
  flows_.pushBack(flow.inTunnel);
  {
    const std::lock_guard lock(worker_.tunnelTable().mutex);
    view.flows++;
  }
  nghttp2_session_set_stream_user_data(session_.get(), stream, &flow);
  if (ended) flow.streamEnded();
  const ConnectArrivedRecord record{
      flow.id(),         pod_->handle,       id_, peerAddress_, *peer_, request.authority, request.baggage,
      request.forwarded, request.traceparent};
  flow.arrive(&record);
}

// Refused before there is a flow: the client is told why, and the closing record says so too.
void Tunnel::rejectRequest(int32_t stream, Reason reason, const std::string& authority) {
  respond(stream, reason);
  const auto parsed = parseAuthority(authority);
  FlowRecord record;
  record.flow = worker_.nextId();
  record.pod = pod_->handle;
  record.tunnel = id_;
  record.role = Role::inboundHbone;
  record.reason = reason;
  record.arrivedAt = view.openedAt;
  record.durationMs = 0;
  record.source = peerAddress_;
  if (parsed) record.destination = parsed->address;
  if (parsed && parsed->address.none()) record.host = parsed->host;
  record.peer = *peer_;
  record.detail = isPlainText(authority, 256) ? std::string_view(authority) : std::string_view{};
  if (worker_.engine().options().traces.carried) record.traceparent = incoming_.traceparent;
  writeRecord(worker_.records(), RecordKind::flowClosed, record);
}

void Tunnel::respond(int32_t stream, Reason reason) {
  const ReasonAnswer& answer = worker_.engine().answerFor(reason);
  const std::string status = std::to_string(answer.status);
  std::array<nghttp2_nv, 2> headers = {header(":status", status), header("x-warren-reason", answer.code)};
  nghttp2_submit_response(session_.get(), stream, headers.data(), headers.size(), nullptr);
  worker_.soon(*this);
}

void Tunnel::answer(Flow& flow, Reason reason, std::string_view baggage) {
  if (reason != Reason::ok) return respond(flow.stream(), reason);
  std::array<nghttp2_nv, 2> headers = {header(":status", "200"), header("baggage", baggage)};
  nghttp2_data_provider provider{};
  provider.read_callback = Callbacks::read;
  nghttp2_submit_response(session_.get(), flow.stream(), headers.data(), baggage.empty() ? 1 : 2, &provider);
  worker_.soon(*this);
}

void Tunnel::detach(Flow& flow, Reason reason, bool answered) {
  flow.inTunnel.unlink();
  flow.inSendQueue.unlink();
  if (turn_ == &flow) turn_ = nullptr;
  buffered_ -= static_cast<int64_t>(flow.heldFromStream());
  {
    const std::lock_guard lock(worker_.tunnelTable().mutex);
    view.flows--;
  }
  const int32_t stream = flow.stream();
  if (stream == 0) {
    if (outbound()) worker_.engine().leaveSeat(group_, id_);
    return retireIfIdle();
  }
  if (stream < 0 || session_ == nullptr || state_ == State::closed) return retireIfIdle();
  nghttp2_session_set_stream_user_data(session_.get(), stream, nullptr);
  if (reason == Reason::ok) {
    // Both ends were passed on, or ours was and nobody reads on: then the client is to stop (RFC 9113 §8.1).
    const bool more = nghttp2_session_get_stream_remote_close(session_.get(), stream) == 0;
    if (more) nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, stream, NGHTTP2_NO_ERROR);
    return worker_.soon(*this);
  }
  if (!outbound() && !answered) {
    respond(stream, reason);
  } else if (!answered) {
    nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, stream, NGHTTP2_CANCEL);
  } else {
    // Never NO_ERROR or CANCEL, which peers read as a clean end. RFC 9113 §8.5: a TCP error is a CONNECT_ERROR.
    nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, stream, NGHTTP2_CONNECT_ERROR);
  }
  worker_.soon(*this);
}

void Tunnel::onStreamClose(int32_t, uint32_t) {
  streams_--;
  if (outbound()) worker_.engine().leaveSeat(group_, id_);
  retireIfIdle();
}

void Tunnel::consume(int32_t stream, size_t bytes) {
  if (session_ == nullptr || state_ == State::closed) return;
  nghttp2_session_consume_stream(session_.get(), stream, bytes);
  if (!busy_) worker_.soon(*this);
}

}  // namespace warren::engine
