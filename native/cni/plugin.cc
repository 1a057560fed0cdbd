#include "plugin.h"

#include <algorithm>
#include <optional>
#include <variant>

#include "agent_client.h"
#include "network_config.h"

namespace warren::cni {

namespace {

constexpr const char* kNewestVersion = "1.1.0";
constexpr const char* kSupportedVersions[] = {"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};
// A pod that goes is told to the agent as a courtesy: discovery tells it, too. The runtime is not held up for it.
constexpr std::uint32_t kFarewellMs = 2'000;

Outcome silent() {
  return {"", 0};
}

Outcome failure(const Error& error, const std::string& version) {
  Json json = {{"cniVersion", version.empty() ? kNewestVersion : version}, {"code", error.code}, {"msg", error.msg}};
  if (!error.details.empty()) json["details"] = error.details;
  return {json.dump(-1, ' ', false, Json::error_handler_t::replace), 1};
}

Outcome versions() {
  return {Json({{"cniVersion", kNewestVersion}, {"supportedVersions", kSupportedVersions}}).dump(), 0};
}

std::string name_of(const Pod& pod) {
  return "pod " + pod.name_space + "/" + pod.name;
}

class Call {
 public:
  Call(const Parameters& parameters, NetworkConfig config)
      : parameters_(parameters), config_(std::move(config)), pod_(parse_arguments(parameters.arguments)) {}

  Outcome run() {
    const std::string& command = parameters_.command;
    if (command == "ADD") return add();
    if (command == "CHECK") return check();
    if (command == "DEL") return remove();
    if (command == "STATUS") return status();
    // What is left of pods that are gone the agent finds by itself (docs/capture.md).
    if (command == "GC") return silent();
    return failed({kInvalidEnvironment, "warren-cni: CNI_COMMAND " + command + " is unknown", ""});
  }

 private:
  Outcome add() {
    if (!config_.prev_result.is_object()) {
      return failed({kInvalidConfig,
                     "warren-cni: there is no prevResult: it must come after the plugin that gives the pod its network",
                     "put it last in the plugins of the list"});
    }
    // Printed as it came: this plugin changes nothing of what the others made.
    Outcome passed{config_.prev_result.dump(), 0};
    if (!concerns_the_mesh()) return passed;
    if (const auto lacking = missing_parameter()) return failed(*lacking);
    const auto error = ask("add", config_.timeout_ms, "so " + name_of(pod_) + " is not started outside of the mesh");
    if (!error) return passed;
    if (error->code == kTryAgainLater && config_.fail_open) return passed;
    return failed(*error);
  }

  Outcome check() {
    if (!concerns_the_mesh()) return silent();
    if (const auto lacking = missing_parameter()) return failed(*lacking);
    const auto error = ask("check", config_.timeout_ms, "so nobody knows whether " + name_of(pod_) + " is captured");
    return error && !(error->code == kTryAgainLater && config_.fail_open) ? failed(*error) : silent();
  }

  // Never fails: a pod that cannot be removed would be the worse harm.
  Outcome remove() {
    if (concerns_the_mesh()) (void)ask("del", std::min(config_.timeout_ms, kFarewellMs), "");
    return silent();
  }

  Outcome status() {
    if (config_.fail_open) return silent();
    auto error = ask("status", config_.timeout_ms, "so no pod can be started on this node");
    if (!error) return silent();
    error->code = kNotAvailable;
    return failed(*error);
  }

  // Pods of other programs than a kubelet, and of namespaces without which the mesh itself could not start.
  [[nodiscard]] bool concerns_the_mesh() const {
    const auto& excluded = config_.exclude_namespaces;
    return !pod_.name.empty() && std::find(excluded.begin(), excluded.end(), pod_.name_space) == excluded.end();
  }

  [[nodiscard]] std::optional<Error> missing_parameter() const {
    const auto lacks = [](const char* name) {
      return Error{kInvalidEnvironment, std::string("warren-cni: ") + name + " is not set", ""};
    };
    if (parameters_.container_id.empty()) return lacks("CNI_CONTAINERID");
    if (parameters_.netns.empty()) return lacks("CNI_NETNS");
    if (parameters_.interface.empty()) return lacks("CNI_IFNAME");
    return std::nullopt;
  }

  // Nothing when the agent says that all is well.
  std::optional<Error> ask(const char* command, std::uint32_t timeout_ms, const std::string& consequence) {
    const Json question = {
        {"version", 1},
        {"command", command},
        {"container", parameters_.container_id},
        {"netns", parameters_.netns},
        {"interface", parameters_.interface},
        {"pod", {{"uid", pod_.uid}, {"name", pod_.name}, {"namespace", pod_.name_space}}},
        {"addresses", config_.addresses()},
    };
    const auto answered =
        ask_agent(config_.socket, question.dump(-1, ' ', false, Json::error_handler_t::replace), timeout_ms);
    if (const auto* none = std::get_if<NoAnswer>(&answered)) {
      return Error{kTryAgainLater, "warren-cni: the mesh agent of this node does not answer, " + consequence,
                   none->why + "; look at the warren-node pod of this node, the pod is tried again"};
    }
    const Json answer = Json::parse(std::get<std::string>(answered), nullptr, false);
    if (!answer.is_object() || !answer.contains("ok") || !answer["ok"].is_boolean()) {
      return Error{kTryAgainLater, "warren-cni: the mesh agent of this node gives no sensible answer, " + consequence,
                   "what listens at " + config_.socket + " said something else than the agent of this version would"};
    }
    if (answer["ok"].get<bool>()) return std::nullopt;
    const auto text = [&answer](const char* key) {
      return answer.contains(key) && answer[key].is_string() ? answer[key].get<std::string>() : std::string();
    };
    // `away` is the agent's word for "not now": it knows too little yet, as if it were not there.
    const bool away = answer.contains("away") && answer["away"].is_boolean() && answer["away"].get<bool>();
    return Error{away ? kTryAgainLater : kRefused, "warren-cni: " + text("message"), text("details")};
  }

  [[nodiscard]] Outcome failed(const Error& error) const { return failure(error, config_.cni_version); }

  const Parameters& parameters_;
  NetworkConfig config_;
  Pod pod_;
};

}  // namespace

Outcome run_plugin(const Parameters& parameters, const std::string& config_text) {
  if (parameters.command.empty()) {
    return failure(
        {kInvalidEnvironment, "warren-cni: CNI_COMMAND is not set: a container runtime runs this program", ""}, "");
  }
  if (parameters.command == "VERSION") return versions();
  auto config = parse_config(config_text);
  if (const auto* error = std::get_if<Error>(&config)) return failure(*error, "");
  return Call(parameters, std::move(std::get<NetworkConfig>(config))).run();
}

}  // namespace warren::cni
