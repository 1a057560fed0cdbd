#pragma once

#include <string>

// The plugin's commands, free of processes and streams: `main.cc` brings those.
namespace warren::cni {

struct Parameters {
  std::string command;
  std::string container_id;
  std::string netns;
  std::string interface;
  std::string arguments;
};

struct Outcome {
  // For standard output: a result, or an error object.
  std::string output;
  int exit_code = 0;
};

Outcome run_plugin(const Parameters& parameters, const std::string& config_text);

}  // namespace warren::cni
