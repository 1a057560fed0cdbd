#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "clock.h"
#include "histogram.h"

namespace warren::load {

// What one run of a generator found; printed as one line of JSON on standard output.
class Report {
 public:
  // By errno, or by a word of our own where the kernel has no number for it.
  void failed(int error);
  void failed(const std::string& what) { errors_[what]++; }
  void number(const std::string& name, double value) { numbers_[name] = value; }
  void histogram(const std::string& name, const Histogram& histogram) { histograms_[name] = histogram.json(); }
  [[nodiscard]] std::uint64_t failures() const;
  void print() const;

 private:
  std::map<std::string, double> numbers_;
  std::map<std::string, std::string> histograms_;
  std::map<std::string, std::uint64_t> errors_;
};

}  // namespace warren::load
