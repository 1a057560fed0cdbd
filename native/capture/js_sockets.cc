#include "js_sockets.h"

#include <optional>
#include <string>
#include <vector>

#include "addon_state.h"
#include "js_values.h"
#include "netns.h"
#include "original_destination.h"
#include "pod_socket.h"

namespace warren::capture {

namespace {

Napi::Value netns_open(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  AddonState& state = state_of(env);
  auto netns = open_netns(state.thread(), info[0].As<Napi::String>().Utf8Value());
  if (!netns.ok()) throw state.error(env, netns.failure());
  Napi::Object result = Napi::Object::New(env);
  result["dev"] = Napi::BigInt::New(env, netns.value().dev);
  result["ino"] = Napi::BigInt::New(env, netns.value().ino);
  result["cookie"] = Napi::BigInt::New(env, netns.value().cookie);
  result["fd"] = Napi::Number::New(env, netns.value().fd.release());
  return result;
}

Napi::Value netns_addresses(const Napi::CallbackInfo& info) {
  using Addresses = std::vector<InterfaceAddress>;
  return state_of(info.Env())
      .perform_inside<Addresses>(info.Env(), info[0].As<Napi::Number>().Int32Value(), interface_addresses,
                                 [](Napi::Env env, Addresses& addresses) -> Napi::Value {
                                   Napi::Array result = Napi::Array::New(env, addresses.size());
                                   for (std::uint32_t i = 0; i < addresses.size(); i++) {
                                     Napi::Object entry = Napi::Object::New(env);
                                     entry["interface"] = Napi::String::New(env, addresses[i].interface);
                                     entry["address"] = Napi::String::New(env, addresses[i].address);
                                     result[i] = entry;
                                   }
                                   return result;
                                 });
}

Napi::Value listen(const Napi::CallbackInfo& info) {
  const auto asked = info[1].As<Napi::Object>();
  ListenOptions options;
  options.family = family_of(asked);
  options.port = static_cast<std::uint16_t>(uint_of(asked, "port"));
  options.address = optional_string(asked, "address");
  options.backlog = static_cast<int>(uint_of(asked, "backlog"));
  options.transparent = bool_of(asked, "transparent");
  options.reuse_port = bool_of(asked, "reusePort");
  return state_of(info.Env())
      .perform_inside<Fd>(
          info.Env(), info[0].As<Napi::Number>().Int32Value(), [options] { return listen_here(options); }, to_fd);
}

Napi::Value open_socket(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  AddonState& state = state_of(env);
  const int netns = info[0].As<Napi::Number>().Int32Value();
  const auto asked = info[1].As<Napi::Object>();
  SocketRequest request;
  request.family = family_of(asked);
  request.source_address = optional_string(asked, "sourceAddress");
  request.mark = uint_of(asked, "mark");
  std::optional<Result<Fd>> socket;
  state.thread().run(
      [&] { socket = state.thread().inside<Fd>(netns, [&request] { return open_socket_here(request); }); });
  if (!socket->ok()) throw state.error(env, socket->failure());
  return Napi::Number::New(env, socket->value().release());
}

Napi::Value original_destination(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int socket = info[0].As<Napi::Number>().Int32Value();
  const auto how = info[1].As<Napi::Object>();
  const std::string kind = how.Get("kind").As<Napi::String>().Utf8Value();
  if (kind == "fixed") return how.Get("destination");
  std::optional<IpEndpoint> found;
  if (kind == "conntrack") {
    found = conntrack_destination(socket);
  } else if (info[2].As<Napi::String>().Utf8Value() == "inbound") {
    found = local_destination(socket);
  } else {
    found =
        map_destination(socket, how.Get("mapFd").As<Napi::Number>().Int32Value(), bigint_of(how.Get("netnsCookie")));
  }
  return found ? socket_address(env, *found) : env.Undefined();
}

Napi::Value local_port(const Napi::CallbackInfo& info) {
  const auto local = local_destination(info[0].As<Napi::Number>().Int32Value());
  return Napi::Number::New(info.Env(), local ? local->port() : 0);
}

}  // namespace

void export_sockets(Napi::Env env, Napi::Object exports) {
  exports.Set("netnsOpen", Napi::Function::New(env, netns_open));
  exports.Set("netnsAddresses", Napi::Function::New(env, netns_addresses));
  exports.Set("listen", Napi::Function::New(env, listen));
  exports.Set("localPort", Napi::Function::New(env, local_port));
  exports.Set("openSocket", Napi::Function::New(env, open_socket));
  exports.Set("originalDestination", Napi::Function::New(env, original_destination));
}

}  // namespace warren::capture
