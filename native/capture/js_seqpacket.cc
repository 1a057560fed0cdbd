#include "js_seqpacket.h"

#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>

#include "addon_state.h"
#include "seqpacket_channel.h"

namespace warren::capture {

namespace {

Napi::Value packet_to_js(Napi::Env env, Packet& packet) {
  Napi::Object result = Napi::Object::New(env);
  result["bytes"] = Napi::Buffer<char>::Copy(env, packet.bytes.data(), packet.bytes.size());
  Napi::Array descriptors = Napi::Array::New(env, packet.descriptors.size());
  for (std::uint32_t i = 0; i < packet.descriptors.size(); i++) {
    descriptors[i] = Napi::Number::New(env, packet.descriptors[i].release());
  }
  result["descriptors"] = descriptors;
  return result;
}

class JsSeqpacket : public Napi::ObjectWrap<JsSeqpacket> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "SeqpacketChannel",
                       {InstanceMethod<&JsSeqpacket::send>("send"), InstanceMethod<&JsSeqpacket::close>("close")});
  }

  explicit JsSeqpacket(const Napi::CallbackInfo& info) : Napi::ObjectWrap<JsSeqpacket>(info) {
    const Napi::Env env = info.Env();
    AddonState& state = state_of(env);
    // The callbacks outlive this object when packets are on their way while it is closed: then they find no handlers.
    auto handlers = handlers_;
    handlers->on_packet = Napi::Persistent(info[1].As<Napi::Function>());
    handlers->on_end = Napi::Persistent(info[2].As<Napi::Function>());
    auto channel =
        SeqpacketChannel::connect(info[0].As<Napi::String>().Utf8Value(), [&state, handlers](Result<Packet> received) {
          auto shared = std::make_shared<Result<Packet>>(std::move(received));
          state.completions().notify([handlers, shared](Napi::Env call_env) {
            if (handlers->closed) return;
            const Napi::HandleScope scope(call_env);
            if (shared->ok()) {
              handlers->on_packet.Call({packet_to_js(call_env, shared->value())});
            } else {
              handlers->on_end.Call({Napi::String::New(call_env, shared->failure().message)});
            }
          });
        });
    if (!channel.ok()) throw state.error(env, channel.failure());
    channel_ = std::move(channel.value());
    state.keep_channel(channel_);
  }

 private:
  struct Handlers {
    Napi::FunctionReference on_packet;
    Napi::FunctionReference on_end;
    bool closed = false;
  };

  Napi::Value send(const Napi::CallbackInfo& info) {
    AddonState& state = state_of(info.Env());
    if (!channel_) throw state.error(info.Env(), Failure{"MESH_SOCKET_FAILED", "the channel is closed"});
    const auto bytes = info[0].As<Napi::Uint8Array>();
    const auto sent = channel_->send(std::string(reinterpret_cast<const char*>(bytes.Data()), bytes.ByteLength()));
    if (!sent.ok()) throw state.error(info.Env(), sent.failure());
    return info.Env().Undefined();
  }

  Napi::Value close(const Napi::CallbackInfo& info) {
    handlers_->closed = true;
    handlers_->on_packet.Reset();
    handlers_->on_end.Reset();
    if (channel_) state_of(info.Env()).forget_channel(channel_);
    channel_.reset();
    return info.Env().Undefined();
  }

  std::shared_ptr<Handlers> handlers_ = std::make_shared<Handlers>();
  std::shared_ptr<SeqpacketChannel> channel_;
};

Napi::Value connect_seqpacket(const Napi::CallbackInfo& info) {
  return JsSeqpacket::define(info.Env()).New({info[0], info[1], info[2]});
}

// Who is at the other end of a connected unix socket (unix(7), SO_PEERCRED): said by the kernel when it connected.
Napi::Value peer_credentials(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(info[0].As<Napi::Number>().Int32Value(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    throw state_of(env).error(env, system_failure("MESH_SOCKET_FAILED", "cannot tell who the peer is", errno));
  }
  Napi::Object result = Napi::Object::New(env);
  result["pid"] = Napi::Number::New(env, credentials.pid);
  result["uid"] = Napi::Number::New(env, credentials.uid);
  result["gid"] = Napi::Number::New(env, credentials.gid);
  return result;
}

}  // namespace

void export_seqpacket(Napi::Env env, Napi::Object exports) {
  exports.Set("connectSeqpacket", Napi::Function::New(env, connect_seqpacket));
  exports.Set("peerCredentials", Napi::Function::New(env, peer_credentials));
}

}  // namespace warren::capture
