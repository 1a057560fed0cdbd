#include "engine/binding/arguments.h"

namespace warren::engine {

namespace {

Napi::Object child(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsObject()) throw Napi::TypeError::New(object.Env(), std::string(name) + " must be an object");
  return value.As<Napi::Object>();
}

Napi::Array list(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsArray()) throw Napi::TypeError::New(object.Env(), std::string(name) + " must be an array");
  return value.As<Napi::Array>();
}

ListenerRole listenerRole(const Napi::Object& listener) {
  const std::string role = textField(listener, "role");
  if (role == "outbound") return ListenerRole::outbound;
  if (role == "inbound") return ListenerRole::inbound;
  if (role == "hbone") return ListenerRole::hbone;
  throw Napi::TypeError::New(listener.Env(), "role must be outbound, inbound or hbone");
}

void readOriginalDestination(const Napi::Object& object, PodSpec& spec) {
  const std::string kind = textField(object, "kind");
  if (kind == "map") {
    spec.originalDestination = OriginalDestinationKind::map;
    spec.mapFd = static_cast<int>(intField(object, "mapFd"));
    bool lossless = false;
    spec.netnsCookie = object.Get("netnsCookie").As<Napi::BigInt>().Uint64Value(&lossless);
    return;
  }
  if (kind == "conntrack") {
    spec.originalDestination = OriginalDestinationKind::conntrack;
    return;
  }
  spec.originalDestination = OriginalDestinationKind::fixed;
  spec.fixed = addressOf(child(object, "destination"));
}

Address hostOf(Napi::Env env, const std::string& host, uint16_t port) {
  const auto address = Address::parseHost(host, port);
  if (!address) throw Napi::TypeError::New(env, "\"" + host + "\" is not an IP address");
  return *address;
}

}  // namespace

int64_t intField(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsNumber()) throw Napi::TypeError::New(object.Env(), std::string(name) + " must be a number");
  return value.As<Napi::Number>().Int64Value();
}

std::string textField(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsString()) throw Napi::TypeError::New(object.Env(), std::string(name) + " must be a string");
  return value.As<Napi::String>().Utf8Value();
}

std::vector<std::string> textsField(const Napi::Object& object, const char* name) {
  const Napi::Array array = list(object, name);
  std::vector<std::string> out;
  for (uint32_t i = 0; i < array.Length(); i++) {
    const Napi::Value value = array.Get(i);
    if (!value.IsString()) throw Napi::TypeError::New(object.Env(), std::string(name) + " must hold strings");
    out.push_back(value.As<Napi::String>().Utf8Value());
  }
  return out;
}

Address addressOf(const Napi::Object& object) {
  const int64_t port = intField(object, "port");
  return hostOf(object.Env(), textField(object, "address"), static_cast<uint16_t>(port));
}

Options optionsOf(const Napi::Object& object) {
  Options options;
  const Napi::Object timeouts = child(object, "timeouts");
  Timeouts& times = options.timeouts;
  times.decision = intField(timeouts, "decision");
  times.credential = intField(timeouts, "credential");
  times.connect = intField(timeouts, "connect");
  times.tls = intField(timeouts, "tls");
  times.http2 = intField(timeouts, "http2");
  times.connectAnswer = intField(timeouts, "connectAnswer");
  times.idle = intField(timeouts, "idle");
  times.halfClosed = intField(timeouts, "halfClosed");
  times.pingInterval = intField(timeouts, "pingInterval");
  times.pingTimeout = intField(timeouts, "pingTimeout");
  times.tunnelIdle = intField(timeouts, "tunnelIdle");
  times.peerBackoff = intField(timeouts, "peerBackoff");
  times.peerBackoffMax = intField(timeouts, "peerBackoffMax");
  const Napi::Object bounds = child(object, "limits");
  Limits& limits = options.limits;
  limits.flows = intField(bounds, "flows");
  limits.flowsPerPod = intField(bounds, "flowsPerPod");
  limits.flowsPerTunnel = intField(bounds, "flowsPerTunnel");
  limits.streamsPerInboundTunnel = intField(bounds, "streamsPerInboundTunnel");
  limits.tunnelsPerGroup = intField(bounds, "tunnelsPerGroup");
  limits.inboundTunnelsPerPod = intField(bounds, "inboundTunnelsPerPod");
  limits.outboundTunnelsPerPod = intField(bounds, "outboundTunnelsPerPod");
  limits.streamWindow = intField(bounds, "streamWindow");
  limits.connectionWindow = intField(bounds, "connectionWindow");
  limits.frameSize = intField(bounds, "frameSize");
  limits.headerListSize = intField(bounds, "headerListSize");
  limits.bufferPerFlow = intField(bounds, "bufferPerFlow");
  limits.memoryPerTunnel = intField(bounds, "memoryPerTunnel");
  limits.memoryPerPod = intField(bounds, "memoryPerPod");
  limits.memory = intField(bounds, "memory");
  limits.descriptors = intField(bounds, "descriptors");
  const Napi::Object tls = child(object, "tls");
  options.tls.groups = textField(tls, "groups");
  options.tls.ciphers = textField(tls, "ciphers");
  options.tls.resumption = tls.Get("resumption").ToBoolean();
  const Napi::Object traces = child(object, "traces");
  options.traces.carried = traces.Get("carried").ToBoolean();
  options.traces.share = traces.Get("share").ToNumber();
  options.workers = static_cast<unsigned>(intField(object, "workers"));
  const Napi::Array reasons = list(object, "reasons");
  for (uint32_t i = 0; i < reasons.Length(); i++) {
    const Napi::Object reason = reasons.Get(i).As<Napi::Object>();
    options.reasons.push_back({textField(reason, "code"), static_cast<int>(intField(reason, "status"))});
  }
  for (const ReasonName& name : kReasonNames) {
    const auto index = static_cast<size_t>(name.reason);
    if (index >= options.reasons.size() || options.reasons[index].code != name.code) {
      throw Napi::Error::New(object.Env(), std::string("the reason table has no ") + name.code + " at index " +
                                               std::to_string(index) + "; build the addon again");
    }
  }
  return options;
}

PodSpec podSpecOf(const Napi::Object& object) {
  PodSpec spec;
  spec.uid = textField(object, "uid");
  spec.netns = static_cast<int>(intField(object, "netns"));
  for (const std::string& host : textsField(object, "addresses"))
    spec.addresses.push_back(hostOf(object.Env(), host, 0));
  const Napi::Array listeners = list(object, "listeners");
  for (uint32_t i = 0; i < listeners.Length(); i++) {
    const Napi::Object listener = listeners.Get(i).As<Napi::Object>();
    spec.listeners.push_back({listenerRole(listener), static_cast<int>(intField(listener, "fd"))});
  }
  readOriginalDestination(child(object, "originalDestination"), spec);
  const Napi::Object marks = child(object, "marks");
  spec.leaveMark = static_cast<uint32_t>(intField(marks, "leave"));
  spec.deliverMark = static_cast<uint32_t>(intField(marks, "deliver"));
  spec.credential = static_cast<uint64_t>(intField(object, "credential"));
  return spec;
}

CredentialSpec credentialSpecOf(const Napi::Object& object) {
  CredentialSpec spec;
  spec.identity = textField(object, "identity");
  spec.chain = textField(object, "chain");
  spec.privateKey = textField(object, "privateKey");
  spec.trustBundle = textField(object, "trustBundle");
  spec.crl = textField(object, "crl");
  spec.trustDomains = textsField(object, "trustDomains");
  spec.deniedIdentities = textsField(object, "deniedIdentities");
  return spec;
}

FlowFilter flowFilterOf(const Napi::Object& object) {
  FlowFilter filter;
  filter.pod = static_cast<uint64_t>(intField(object, "pod"));
  filter.tunnel = static_cast<uint64_t>(intField(object, "tunnel"));
  const int64_t role = intField(object, "role");
  if (role >= 0) filter.role = static_cast<Role>(role);
  filter.peer = textField(object, "peer");
  return filter;
}

}  // namespace warren::engine
