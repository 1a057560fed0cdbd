#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>
#include <vector>

#include "cni_error.h"

// What the runtime says: the network configuration on standard input and the parameters in the environment.
namespace warren::cni {

using Json = nlohmann::json;

struct NetworkConfig {
  std::string cni_version;
  // Of the plugins before this one, as it came; null when there was none.
  Json prev_result;
  std::string socket;
  std::uint32_t timeout_ms = 15'000;
  bool fail_open = false;
  std::vector<std::string> exclude_namespaces;

  // Addresses of the pod, without their prefix lengths.
  [[nodiscard]] std::vector<std::string> addresses() const;
};

std::variant<NetworkConfig, Error> parse_config(const std::string& text);

struct Pod {
  std::string uid;
  std::string name;
  std::string name_space;
};

// CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;…`. Empty names when no kubelet is behind it.
Pod parse_arguments(const std::string& arguments);

}  // namespace warren::cni
