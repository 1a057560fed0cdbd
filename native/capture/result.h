#pragma once

#include <cstring>
#include <string>
#include <utility>
#include <variant>

namespace warren::capture {

// Why something did not work. `code` is one of the stable codes in src/capture/errors.ts; the message is for people.
struct Failure {
  std::string code;
  std::string message;
};

inline Failure system_failure(std::string code, const std::string& what, int error) {
  return Failure{std::move(code), what + ": " + ::strerrordesc_np(error) + " (" + ::strerrorname_np(error) + ")"};
}

struct Unit {};

// A value or the failure that stood in its way. Exceptions exist only at the JavaScript edge (addon.cc).
template <class T>
class Result {
 public:
  Result(T value) : content_(std::move(value)) {}
  Result(Failure failure) : content_(std::move(failure)) {}

  [[nodiscard]] bool ok() const { return content_.index() == 0; }
  [[nodiscard]] T& value() { return std::get<0>(content_); }
  [[nodiscard]] const Failure& failure() const { return std::get<1>(content_); }

 private:
  std::variant<T, Failure> content_;
};

}  // namespace warren::capture
