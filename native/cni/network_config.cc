#include "network_config.h"

#include <algorithm>
#include <string_view>

namespace warren::cni {

namespace {

// A node's plugins are at most a few KiB; a path in sun_path holds 107 bytes.
constexpr std::size_t kLongestSocketPath = 107;

Error invalid(const std::string& field, const std::string& what) {
  return {kInvalidConfig, "warren-cni: " + field + " in its network configuration " + what,
          "the agent writes this configuration; if somebody else did, compare it with docs/cni.md"};
}

}  // namespace

std::vector<std::string> NetworkConfig::addresses() const {
  std::vector<std::string> found;
  if (!prev_result.is_object() || !prev_result.contains("ips") || !prev_result["ips"].is_array()) return found;
  for (const Json& ip : prev_result["ips"]) {
    if (!ip.is_object() || !ip.contains("address") || !ip["address"].is_string()) continue;
    const auto text = ip["address"].get<std::string>();
    found.push_back(text.substr(0, text.find('/')));
  }
  return found;
}

std::variant<NetworkConfig, Error> parse_config(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) {
    return Error{kUndecodable, "warren-cni: the network configuration on standard input is no JSON object", ""};
  }
  NetworkConfig config;
  if (!json.contains("cniVersion") || !json["cniVersion"].is_string()) return invalid("cniVersion", "is missing");
  config.cni_version = json["cniVersion"].get<std::string>();
  if (json.contains("prevResult")) config.prev_result = json["prevResult"];
  if (!json.contains("socket") || !json["socket"].is_string()) return invalid("socket", "is missing");
  config.socket = json["socket"].get<std::string>();
  if (config.socket.empty() || config.socket.size() > kLongestSocketPath) {
    return invalid("socket", "is no path of a unix socket");
  }
  if (json.contains("timeoutMs")) {
    if (!json["timeoutMs"].is_number_unsigned() || json["timeoutMs"].get<std::uint64_t>() > 600'000) {
      return invalid("timeoutMs", "is no number of milliseconds up to 600000");
    }
    config.timeout_ms = json["timeoutMs"].get<std::uint32_t>();
  }
  if (json.contains("failOpen")) {
    if (!json["failOpen"].is_boolean()) return invalid("failOpen", "is neither true nor false");
    config.fail_open = json["failOpen"].get<bool>();
  }
  if (json.contains("excludeNamespaces")) {
    if (!json["excludeNamespaces"].is_array()) return invalid("excludeNamespaces", "is no list");
    for (const Json& name : json["excludeNamespaces"]) {
      if (!name.is_string()) return invalid("excludeNamespaces", "holds something that is no name");
      config.exclude_namespaces.push_back(name.get<std::string>());
    }
  }
  return config;
}

Pod parse_arguments(const std::string& arguments) {
  Pod pod;
  std::string_view rest = arguments;
  while (!rest.empty()) {
    const std::string_view pair = rest.substr(0, rest.find(';'));
    rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
    const std::size_t equals = pair.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view key = pair.substr(0, equals);
    const std::string value(pair.substr(equals + 1));
    if (key == "K8S_POD_UID") pod.uid = value;
    if (key == "K8S_POD_NAME") pod.name = value;
    if (key == "K8S_POD_NAMESPACE") pod.name_space = value;
  }
  return pod;
}

}  // namespace warren::cni
