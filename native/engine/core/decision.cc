#include "engine/core/decision.h"

#include "engine/core/record_reader.h"

namespace warren::engine {

namespace {

constexpr uint8_t kRemember = 0x80;

void readTargets(RecordReader& reader, unsigned count, Decision& out) {
  for (unsigned i = 0; i < count && reader.ok(); i++) {
    if (out.kind == DecisionKind::carry) {
      CarryTarget target;
      target.groupHandle = reader.number();
      target.weight = reader.value<double>();
      target.authority = reader.text(reader.value<uint16_t>());
      out.carry.push_back(std::move(target));
    } else {
      DialTarget target;
      target.weight = reader.value<double>();
      target.destination = reader.address();
      out.dial.push_back(target);
    }
  }
}

bool sane(const Decision& decision) {
  switch (decision.kind) {
    case DecisionKind::carry:
      for (const CarryTarget& target : decision.carry) {
        if (!(target.weight >= 0) || target.authority.empty()) return false;
      }
      return true;
    case DecisionKind::dial:
      for (const DialTarget& target : decision.dial) {
        if (!(target.weight >= 0) || target.destination.none()) return false;
      }
      return true;
    case DecisionKind::handOver:
    case DecisionKind::refuse:
      // Neither goes anywhere.
      return decision.dial.empty();
  }
  return false;
}

}  // namespace

// u32 size | u8 kind | u8 0x80+fields | u8 reason | u8 deliver | f64 flow | f64 epoch | u32 label | u16 targets | u16
// baggage | u16 host | f64 from | source[20] | baggage | host | targets
bool readDecision(std::span<const uint8_t>& records, Decision& out) {
  uint32_t size = 0;
  if (records.size() < sizeof size) return false;
  std::memcpy(&size, records.data(), sizeof size);
  if (size < sizeof size || size > records.size()) return false;
  RecordReader reader(records.subspan(sizeof size, size - sizeof size));
  records = records.subspan(size);

  out.kind = static_cast<DecisionKind>(reader.value<uint8_t>());
  const auto fields = reader.value<uint8_t>();
  out.remember = (fields & kRemember) != 0;
  out.fields = fields & 0x1f;
  out.reason = static_cast<Reason>(reader.value<uint8_t>());
  out.deliver = reader.value<uint8_t>() != 0;
  out.flow = reader.number();
  out.epoch = reader.number();
  out.label = reader.value<uint32_t>();
  const auto targets = reader.value<uint16_t>();
  const auto baggage = reader.value<uint16_t>();
  const auto host = reader.value<uint16_t>();
  out.fromHandle = reader.number();
  out.source = reader.address();
  out.baggage = reader.text(baggage);
  out.forwardedHost = reader.text(host);
  readTargets(reader, targets, out);
  return reader.ok() && reader.atEnd() && sane(out);
}

}  // namespace warren::engine
