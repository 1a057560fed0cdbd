#pragma once

#include <cstdint>
#include <string>
#include <variant>

namespace warren::cni {

// Why no answer came, in words that a person reads in a pod's event.
struct NoAnswer {
  std::string why;
};

// Sends one line over the agent's unix socket and returns the line that comes back, all within the time.
std::variant<std::string, NoAnswer> ask_agent(const std::string& socket_path, const std::string& question,
                                              std::uint32_t timeout_ms);

}  // namespace warren::cni
