#include "js_steering.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "addon_state.h"
#include "bpf_link.h"
#include "event_reader.h"
#include "js_values.h"
#include "steering.h"

namespace warren::capture {

namespace {

using SteeringHolder = std::shared_ptr<Steering>;

// The JavaScript object around Steering. Work under way on the netns thread shares ownership, so `close` needs not
// wait.
class JsSteering : public Napi::ObjectWrap<JsSteering> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Steering",
                       {
                           InstanceAccessor<&JsSteering::guard_failure>("guardFailure"),
                           InstanceAccessor<&JsSteering::orig_dst_fd>("originalDestinationMapFd"),
                           InstanceMethod<&JsSteering::lost_links>("lostLinks"),
                           InstanceMethod<&JsSteering::repair>("repair"),
                           InstanceMethod<&JsSteering::attach_pod>("attachPod"),
                           InstanceMethod<&JsSteering::detach_pod>("detachPod"),
                           InstanceMethod<&JsSteering::set_pod>("setPod"),
                           InstanceMethod<&JsSteering::delete_pod>("deletePod"),
                           InstanceMethod<&JsSteering::known_cookies>("knownCookies"),
                           InstanceMethod<&JsSteering::pinned_netns_inode>("pinnedNetnsInode"),
                           InstanceMethod<&JsSteering::set_listener>("setListener"),
                           InstanceMethod<&JsSteering::exempt>("exempt"),
                           InstanceMethod<&JsSteering::configure>("configure"),
                           InstanceMethod<&JsSteering::heartbeat>("heartbeat"),
                           InstanceMethod<&JsSteering::counters>("counters"),
                           InstanceMethod<&JsSteering::on_event>("onEvent"),
                           InstanceMethod<&JsSteering::close>("close"),
                       });
  }

  explicit JsSteering(const Napi::CallbackInfo& info) : Napi::ObjectWrap<JsSteering>(info) {
    steering_ = *info[0].As<Napi::External<SteeringHolder>>().Data();
  }

 private:
  Steering& steering(Napi::Env env) const {
    if (!steering_) throw state_of(env).error(env, Failure{kBpfFailed, "steering is closed"});
    return *steering_;
  }

  static Napi::Value check(Napi::Env env, const Result<Unit>& result) {
    if (!result.ok()) throw state_of(env).error(env, result.failure());
    return env.Undefined();
  }

  Napi::Value guard_failure(const Napi::CallbackInfo& info) {
    const auto& failure = steering(info.Env()).guard_failure();
    return failure ? Napi::String::New(info.Env(), failure->message) : info.Env().Undefined();
  }

  Napi::Value orig_dst_fd(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), steering(info.Env()).map_fd("orig_dst"));
  }

  Napi::Value lost_links(const Napi::CallbackInfo& info) {
    return string_array(info.Env(), steering(info.Env()).lost_links());
  }

  Napi::Value repair(const Napi::CallbackInfo& info) { return check(info.Env(), steering(info.Env()).repair()); }

  Napi::Value attach_pod(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    steering(env);
    auto held = std::make_shared<Fd>(::fcntl(info[0].As<Napi::Number>().Int32Value(), F_DUPFD_CLOEXEC, 0));
    const auto asked = info[1].As<Napi::Object>();
    PodAttachment attachment;
    attachment.pin = asked.Get("pin").As<Napi::String>().Utf8Value();
    attachment.netns_ino = bigint_of(asked.Get("netnsIno"));
    attachment.cookie = bigint_of(asked.Get("cookie"));
    attachment.outbound_port = static_cast<std::uint16_t>(uint_of(asked, "outboundPort"));
    attachment.hbone_port = static_cast<std::uint16_t>(uint_of(asked, "hbonePort"));
    return state_of(env).perform<Unit>(
        env, [held, attachment, steering = steering_] { return steering->attach_pod(attachment, held->get()); },
        to_undefined);
  }

  Napi::Value detach_pod(const Napi::CallbackInfo& info) {
    steering(info.Env());
    return check(info.Env(), detach_link(info[0].As<Napi::String>().Utf8Value()));
  }

  Napi::Value set_pod(const Napi::CallbackInfo& info) {
    const auto asked = info[1].As<Napi::Object>();
    PodSteering pod;
    const auto addresses = asked.Get("addresses").As<Napi::Array>();
    for (std::uint32_t i = 0; i < addresses.Length(); i++) {
      pod.addresses.push_back(addresses.Get(i).As<Napi::String>().Utf8Value());
    }
    pod.outbound_port = static_cast<std::uint16_t>(uint_of(asked, "outboundPort"));
    pod.fail_open = bool_of(asked, "failOpen");
    if (const Napi::Value ports = asked.Get("probePorts"); ports.IsArray()) {
      pod.probe_ports.emplace();
      const auto list = ports.As<Napi::Array>();
      for (std::uint32_t i = 0; i < list.Length(); i++) {
        pod.probe_ports->push_back(static_cast<std::uint16_t>(list.Get(i).As<Napi::Number>().Uint32Value()));
      }
    }
    return check(info.Env(), steering(info.Env()).set_pod(bigint_of(info[0]), pod));
  }

  Napi::Value delete_pod(const Napi::CallbackInfo& info) {
    return check(info.Env(), steering(info.Env()).delete_pod(bigint_of(info[0])));
  }

  Napi::Value known_cookies(const Napi::CallbackInfo& info) {
    const auto cookies = steering(info.Env()).known_cookies();
    Napi::Array result = Napi::Array::New(info.Env(), cookies.size());
    for (std::uint32_t i = 0; i < cookies.size(); i++) result[i] = Napi::BigInt::New(info.Env(), cookies[i]);
    return result;
  }

  Napi::Value pinned_netns_inode(const Napi::CallbackInfo& info) {
    auto inode = link_target_id(info[0].As<Napi::String>().Utf8Value());
    if (!inode.ok()) throw state_of(info.Env()).error(info.Env(), inode.failure());
    return Napi::BigInt::New(info.Env(), inode.value());
  }

  Napi::Value set_listener(const Napi::CallbackInfo& info) {
    const auto asked = info[1].As<Napi::Object>();
    const std::string role = asked.Get("role").As<Napi::String>().Utf8Value();
    const std::uint32_t number = role == "outbound"  ? WARREN_ROLE_OUTBOUND
                                 : role == "inbound" ? WARREN_ROLE_INBOUND
                                                     : WARREN_ROLE_HBONE;
    return check(info.Env(), steering(info.Env())
                                 .set_listener(bigint_of(info[0]), number, family_of(asked),
                                               static_cast<int>(uint_of(asked, "fd"))));
  }

  Napi::Value exempt(const Napi::CallbackInfo& info) {
    const std::string kind = info[1].As<Napi::String>().Utf8Value();
    return check(info.Env(), steering(info.Env())
                                 .exempt(info[0].As<Napi::String>().Utf8Value(),
                                         kind == "kubelet" ? ExemptKind::kKubelet : ExemptKind::kAgent));
  }

  Napi::Value configure(const Napi::CallbackInfo& info) {
    const auto asked = info[0].As<Napi::Object>();
    const std::uint64_t timeout_ns = std::uint64_t{uint_of(asked, "heartbeatTimeoutMs")} * 1'000'000;
    return check(info.Env(), steering(info.Env()).configure(bigint_of(asked.Get("hostNetnsCookie")), timeout_ns));
  }

  Napi::Value heartbeat(const Napi::CallbackInfo& info) { return check(info.Env(), steering(info.Env()).heartbeat()); }

  Napi::Value counters(const Napi::CallbackInfo& info) {
    Napi::Object result = Napi::Object::New(info.Env());
    for (const auto& [name, value] : steering(info.Env()).counters()) {
      result[name] = Napi::Number::New(info.Env(), static_cast<double>(value));
    }
    return result;
  }

  Napi::Value on_event(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    AddonState& state = state_of(env);
    auto callback = std::make_shared<Napi::FunctionReference>(Napi::Persistent(info[0].As<Napi::Function>()));
    auto reader = EventReader::start(steering(env).map_fd("events"), [&state, callback](const KernelEvent& event) {
      state.completions().notify([callback, event](Napi::Env call_env) {
        const Napi::HandleScope scope(call_env);
        Napi::Object record = Napi::Object::New(call_env);
        record["kind"] = Napi::String::New(
            call_env, event.kind == WARREN_EVENT_UNKNOWN_NETNS ? "unknown-netns-connected" : "no-listener");
        record["cookie"] = Napi::BigInt::New(call_env, event.netns_cookie);
        record["cgroupId"] = Napi::BigInt::New(call_env, event.cgroup_id);
        record["pid"] = Napi::Number::New(call_env, event.pid);
        callback->Call({record});
      });
    });
    if (!reader.ok()) throw state.error(env, reader.failure());
    reader_ = state.keep_reader(std::move(reader.value()));
    return env.Undefined();
  }

  Napi::Value close(const Napi::CallbackInfo& info) {
    if (reader_ != nullptr) state_of(info.Env()).stop_reader(std::exchange(reader_, nullptr));
    steering_.reset();
    return info.Env().Undefined();
  }

  SteeringHolder steering_;
  EventReader* reader_ = nullptr;
};

Napi::Value open_steering(const Napi::CallbackInfo& info) {
  const auto asked = info[0].As<Napi::Object>();
  const SteeringOptions options{asked.Get("directory").As<Napi::String>().Utf8Value(),
                                asked.Get("podsCgroup").As<Napi::String>().Utf8Value()};
  return state_of(info.Env())
      .perform<SteeringHolder>(
          info.Env(),
          [options]() -> Result<SteeringHolder> {
            auto opened = Steering::open(options);
            if (!opened.ok()) return opened.failure();
            return SteeringHolder(std::move(opened.value()));
          },
          [](Napi::Env env, SteeringHolder& holder) -> Napi::Value {
            return JsSteering::define(env).New({Napi::External<SteeringHolder>::New(env, &holder)});
          });
}

}  // namespace

void export_steering(Napi::Env env, Napi::Object exports) {
  exports.Set("openSteering", Napi::Function::New(env, open_steering));
}

}  // namespace warren::capture
