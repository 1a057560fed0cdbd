#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "engine/base/address.h"

namespace warren::engine {

static_assert(std::endian::native == std::endian::little, "records are little endian on both sides");

// Reads fields of a record front to back; after the first read past the end everything reads as zero and `ok` is false.
class RecordReader {
 public:
  explicit RecordReader(std::span<const uint8_t> bytes) : rest_(bytes) {}

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool atEnd() const { return rest_.empty(); }

  template <typename T>
  T value() {
    T out{};
    if (take(sizeof(T))) std::memcpy(&out, taken_, sizeof(T));
    return out;
  }
  // A whole number that TypeScript wrote as a double: 0 … 2^53-1.
  uint64_t number() {
    const auto raw = value<double>();
    if (raw >= 0 && raw < 9007199254740992.0) return static_cast<uint64_t>(raw);
    ok_ = false;
    return 0;
  }
  std::string text(size_t length) {
    if (!take(length)) return {};
    return {reinterpret_cast<const char*>(taken_), length};
  }
  Address address() {
    const auto out = value<Address>();
    if (out.family == 0 || out.family == 4 || out.family == 6) return out;
    ok_ = false;
    return {};
  }

 private:
  bool take(size_t bytes) {
    if (!ok_ || bytes > rest_.size()) {
      ok_ = false;
      return false;
    }
    taken_ = rest_.data();
    rest_ = rest_.subspan(bytes);
    return true;
  }

  std::span<const uint8_t> rest_;
  const uint8_t* taken_ = nullptr;
  bool ok_ = true;
};

}  // namespace warren::engine
