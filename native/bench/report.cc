#include "report.h"

#include <cstdio>
#include <cstring>

namespace warren::load {

void Report::failed(int error) {
  const char* name = strerrorname_np(error);
  errors_[name == nullptr ? std::to_string(error) : name]++;
}

std::uint64_t Report::failures() const {
  std::uint64_t sum = 0;
  for (const auto& [what, count] : errors_) sum += count;
  return sum;
}

void Report::print() const {
  std::string text = "{";
  for (const auto& [name, value] : numbers_) {
    char digits[64];
    std::snprintf(digits, sizeof digits, "%.9g", value);
    text.append("\"").append(name).append("\":").append(digits).append(",");
  }
  for (const auto& [name, json] : histograms_) text.append("\"").append(name).append("\":").append(json).append(",");
  std::string errors;
  for (const auto& [what, count] : errors_) {
    if (!errors.empty()) errors += ',';
    errors.append("\"").append(what).append("\":").append(std::to_string(count));
  }
  std::printf("%s\"errors\":{%s}}\n", text.c_str(), errors.c_str());
  std::fflush(stdout);
}

}  // namespace warren::load
