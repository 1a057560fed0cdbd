#pragma once

#include <string>

namespace warren::cni {

// Codes of the CNI specification (Error), and its reserved ones for STATUS.
inline constexpr unsigned kInvalidEnvironment = 4;
inline constexpr unsigned kIoFailure = 5;
inline constexpr unsigned kUndecodable = 6;
inline constexpr unsigned kInvalidConfig = 7;
inline constexpr unsigned kTryAgainLater = 11;
inline constexpr unsigned kNotAvailable = 50;
// From 100 on they are the plugin's own.
inline constexpr unsigned kRefused = 100;

// What the runtime shows in the pod's event: `msg` is one line that says what and why, `details` where to look next.
struct Error {
  unsigned code = 0;
  std::string msg;
  std::string details;
};

}  // namespace warren::cni
