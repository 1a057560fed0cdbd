#include "js_kernel.h"

#include <string>
#include <vector>

#include "addon_state.h"
#include "js_values.h"
#include "kernel_support.h"
#include "netns_routing.h"
#include "nftables.h"
#include "probe_socket.h"

namespace warren::capture {

namespace {

Napi::Value kernel_support_to_js(Napi::Env env, KernelSupport& support) {
  Napi::Object result = Napi::Object::New(env);
  result["release"] = Napi::String::New(env, support.release);
  result["ebpfMissing"] = string_array(env, support.ebpf_missing);
  return result;
}

Napi::Value probe_kernel_js(const Napi::CallbackInfo& info) {
  return state_of(info.Env())
      .perform<KernelSupport>(
          info.Env(), []() -> Result<KernelSupport> { return probe_kernel(); }, kernel_support_to_js);
}

DeliveryRouting routing_of(const Napi::Object& asked) {
  DeliveryRouting routing;
  const auto families = asked.Get("families").As<Napi::Array>();
  for (std::uint32_t i = 0; i < families.Length(); i++) {
    routing.families.push_back(families.Get(i).As<Napi::Number>().Uint32Value() == 4 ? Family::kV4 : Family::kV6);
  }
  routing.mark = uint_of(asked, "mark");
  routing.mask = uint_of(asked, "mask");
  routing.table = uint_of(asked, "table");
  routing.priority = uint_of(asked, "priority");
  return routing;
}

Napi::Value change_routing(const Napi::CallbackInfo& info, Result<Unit> (*change)(const DeliveryRouting&)) {
  const DeliveryRouting routing = routing_of(info[1].As<Napi::Object>());
  return state_of(info.Env())
      .perform_inside<Unit>(
          info.Env(), info[0].As<Napi::Number>().Int32Value(), [routing, change] { return change(routing); },
          to_undefined);
}

Napi::Value add_routing(const Napi::CallbackInfo& info) {
  return change_routing(info, add_delivery_routing);
}

Napi::Value remove_routing(const Napi::CallbackInfo& info) {
  return change_routing(info, remove_delivery_routing);
}

Napi::Value probe(const Napi::CallbackInfo& info) {
  const auto asked = info[1].As<Napi::Object>();
  ProbeRequest request;
  request.cgroup = asked.Get("cgroup").As<Napi::String>().Utf8Value();
  request.family = family_of(asked);
  request.destination = asked.Get("destination").As<Napi::String>().Utf8Value();
  request.port = static_cast<std::uint16_t>(uint_of(asked, "port"));
  request.source_address = optional_string(asked, "sourceAddress");
  request.mark = uint_of(asked, "mark");
  return state_of(info.Env())
      .perform_inside<Fd>(
          info.Env(), info[0].As<Napi::Number>().Int32Value(), [request] { return probe_here(request); }, to_fd);
}

Napi::Value to_string(Napi::Env env, std::string& text) {
  return Napi::String::New(env, text);
}

Napi::Value nft(const Napi::CallbackInfo& info) {
  const std::string commands = info[1].As<Napi::String>().Utf8Value();
  return state_of(info.Env())
      .perform_inside<std::string>(
          info.Env(), info[0].As<Napi::Number>().Int32Value(), [commands] { return run_nft(commands); }, to_string);
}

Napi::Value nft_try(const Napi::CallbackInfo& info) {
  const std::string commands = info[0].As<Napi::String>().Utf8Value();
  AddonState& state = state_of(info.Env());
  return state.perform<std::string>(
      info.Env(),
      [&state, commands] {
        return state.thread().inside_scratch<std::string>([&commands] { return run_nft(commands); });
      },
      to_string);
}

}  // namespace

void export_kernel(Napi::Env env, Napi::Object exports) {
  exports.Set("probeKernel", Napi::Function::New(env, probe_kernel_js));
  exports.Set("addDeliveryRouting", Napi::Function::New(env, add_routing));
  exports.Set("removeDeliveryRouting", Napi::Function::New(env, remove_routing));
  exports.Set("nft", Napi::Function::New(env, nft));
  exports.Set("nftTry", Napi::Function::New(env, nft_try));
  exports.Set("probe", Napi::Function::New(env, probe));
}

}  // namespace warren::capture
