#include "js_sock_diag.h"

#include <vector>

#include "addon_state.h"
#include "js_values.h"
#include "sock_diag.h"

namespace warren::capture {

namespace {

using Sockets = std::vector<DiagnosedSocket>;

Napi::Value sockets_to_js(Napi::Env env, Sockets& sockets) {
  Napi::Array result = Napi::Array::New(env, sockets.size());
  for (std::uint32_t i = 0; i < sockets.size(); i++) {
    const DiagnosedSocket& socket = sockets[i];
    Napi::Object row = Napi::Object::New(env);
    row["protocol"] = Napi::String::New(env, socket.protocol == DiagnosedSocket::Protocol::kTcp ? "tcp" : "udp");
    row["state"] = Napi::String::New(env, socket.state == DiagnosedSocket::State::kListening ? "listening" : "open");
    row["local"] = socket_address(env, socket.local);
    row["remote"] = socket_address(env, socket.remote);
    row["mark"] = Napi::Number::New(env, socket.mark);
    row["cookie"] = Napi::BigInt::New(env, socket.cookie);
    row["own"] = Napi::Boolean::New(env, socket.own);
    result[i] = row;
  }
  return result;
}

Napi::Value list_sockets(const Napi::CallbackInfo& info) {
  return state_of(info.Env())
      .perform_inside<Sockets>(info.Env(), info[0].As<Napi::Number>().Int32Value(), diagnose_sockets, sockets_to_js);
}

Napi::Value abort_connections(const Napi::CallbackInfo& info) {
  const auto asked = info[1].As<Napi::Array>();
  std::vector<std::uint64_t> cookies;
  for (std::uint32_t i = 0; i < asked.Length(); i++) cookies.push_back(bigint_of(asked.Get(i)));
  return state_of(info.Env())
      .perform_inside<std::uint32_t>(
          info.Env(), info[0].As<Napi::Number>().Int32Value(), [cookies] { return destroy_sockets(cookies); },
          [](Napi::Env env, std::uint32_t& closed) -> Napi::Value { return Napi::Number::New(env, closed); });
}

}  // namespace

void export_sock_diag(Napi::Env env, Napi::Object exports) {
  exports.Set("listSockets", Napi::Function::New(env, list_sockets));
  exports.Set("abortConnections", Napi::Function::New(env, abort_connections));
}

}  // namespace warren::capture
