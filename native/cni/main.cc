// warren-cni: a chained CNI plugin (containernetworking/cni, SPEC.md 1.1.0). The container runtime runs it when a pod's
// network is there and before its containers start; it tells the node's agent and waits until that has captured the
// pod. It decides nothing.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "plugin.h"

namespace {

// Network configurations are a few KiB; what is longer is none.
constexpr std::size_t kLongestConfig = 4'194'304;

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string standard_input() {
  std::string text;
  char buffer[16 * 1024];
  ssize_t count = 0;
  while ((count = ::read(STDIN_FILENO, buffer, sizeof buffer)) > 0 && text.size() < kLongestConfig) {
    text.append(buffer, static_cast<std::size_t>(count));
  }
  return text;
}

}  // namespace

int main() {
  const warren::cni::Parameters parameters{variable("CNI_COMMAND"), variable("CNI_CONTAINERID"), variable("CNI_NETNS"),
                                           variable("CNI_IFNAME"), variable("CNI_ARGS")};
  const warren::cni::Outcome outcome = warren::cni::run_plugin(parameters, standard_input());
  if (!outcome.output.empty()) std::printf("%s\n", outcome.output.c_str());
  return std::fflush(stdout) == 0 ? outcome.exit_code : 1;
}
