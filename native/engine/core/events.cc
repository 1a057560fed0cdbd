#include "engine/core/events.h"

#include <algorithm>
#include <cstring>

namespace warren::engine {

namespace {

// Appends one record; sets its size when it goes out of scope.
class Writer {
 public:
  Writer(RecordBuffer& out, RecordKind kind, uint8_t a = 0, uint8_t b = 0, uint8_t c = 0)
      : out_(out), start_(out.size()) {
    value(uint32_t{0});
    value(static_cast<uint8_t>(kind));
    value(a);
    value(b);
    value(c);
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() {
    while ((out_.size() - start_) % 8 != 0) out_.push_back(0);
    const auto size = static_cast<uint32_t>(out_.size() - start_);
    std::memcpy(out_.data() + start_, &size, sizeof size);
  }

  template <typename T>
  void value(const T& value) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(&value);
    out_.insert(out_.end(), bytes, bytes + sizeof(T));
  }
  void number(uint64_t value) { this->value(static_cast<double>(value)); }
  void length(std::string_view text) { value(static_cast<uint16_t>(shown(text).size())); }
  void text(std::string_view text) {
    const std::string_view part = shown(text);
    out_.insert(out_.end(), part.begin(), part.end());
  }

 private:
  static std::string_view shown(std::string_view text) { return text.substr(0, 0xffff); }

  RecordBuffer& out_;
  size_t start_;
};

}  // namespace

void writeRecord(RecordBuffer& out, const FlowArrivedRecord& record) {
  Writer to(out, RecordKind::flowArrived, static_cast<uint8_t>(record.role));
  to.number(record.flow);        // 8
  to.number(record.pod);         // 16
  to.value(record.source);       // 24
  to.value(record.destination);  // 44
}

void writeRecord(RecordBuffer& out, const ConnectArrivedRecord& record) {
  Writer to(out, RecordKind::connectArrived);
  to.number(record.flow);         // 8
  to.number(record.pod);          // 16
  to.number(record.tunnel);       // 24
  to.value(record.source);        // 32
  to.length(record.peer);         // 52
  to.length(record.authority);    // 54
  to.length(record.baggage);      // 56
  to.length(record.forwarded);    // 58
  to.length(record.traceparent);  // 60
  to.text(record.peer);           // 62
  to.text(record.authority);
  to.text(record.baggage);
  to.text(record.forwarded);
  to.text(record.traceparent);
}

void writeRecord(RecordBuffer& out, RecordKind kind, const FlowRecord& record) {
  Writer to(out, kind, static_cast<uint8_t>(record.role), static_cast<uint8_t>(record.reason));
  to.number(record.flow);           // 8
  to.number(record.pod);            // 16
  to.number(record.tunnel);         // 24
  to.number(record.bytesSent);      // 32
  to.number(record.bytesReceived);  // 40
  to.value(record.arrivedAt);       // 48
  to.value(record.connectedMs);     // 56
  to.value(record.durationMs);      // 64
  to.value(record.label);           // 72
  to.value(record.source);          // 76
  to.value(record.destination);     // 96
  to.value(record.target);          // 116
  to.length(record.peer);           // 136
  to.length(record.host);           // 138
  to.length(record.detail);         // 140
  to.length(record.traceparent);    // 142
  to.text(record.peer);             // 144
  to.text(record.host);
  to.text(record.detail);
  to.text(record.traceparent);
}

void writeRecord(RecordBuffer& out, RecordKind kind, const TunnelRecord& record) {
  Writer to(out, kind, record.outbound ? 1 : 0, static_cast<uint8_t>(record.reason));
  to.number(record.tunnel);       // 8
  to.number(record.pod);          // 16
  to.number(record.group);        // 24
  to.value(record.setupMs);       // 32
  to.value(record.openedAt);      // 40
  to.value(record.flows);         // 48
  to.value(record.peerAddress);   // 52
  to.length(record.peer);         // 72
  to.length(record.version);      // 74
  to.length(record.keyExchange);  // 76
  to.length(record.cipher);       // 78
  to.length(record.detail);       // 80
  to.text(record.peer);           // 82
  to.text(record.version);
  to.text(record.keyExchange);
  to.text(record.cipher);
  to.text(record.detail);
}

void writeHandedOver(RecordBuffer& out, uint64_t flow, int fd) {
  Writer to(out, RecordKind::handedOver);
  to.number(flow);  // 8
  to.value(fd);     // 16
}

void writePodGone(RecordBuffer& out, uint64_t pod) {
  Writer to(out, RecordKind::podGone);
  to.number(pod);  // 8
}

bool EventQueue::publish() {
  if (own.empty()) return false;
  const std::lock_guard lock(mutex_);
  const bool first = shared_.empty();
  if (first) {
    shared_.swap(own);
  } else {
    shared_.insert(shared_.end(), own.begin(), own.end());
  }
  own.clear();
  return first;
}

void EventQueue::take(RecordBuffer& into) {
  into.clear();
  const std::lock_guard lock(mutex_);
  shared_.swap(into);
}

}  // namespace warren::engine
