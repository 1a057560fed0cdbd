#include "engine/binding/engine_object.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "engine/binding/arguments.h"

namespace warren::engine {

namespace {

uint64_t handleArg(const Napi::CallbackInfo& info, size_t index) {
  return static_cast<uint64_t>(info[index].ToNumber().Int64Value());
}

Reason reasonArg(const Napi::CallbackInfo& info, size_t index) {
  return static_cast<Reason>(info[index].ToNumber().Uint32Value());
}

std::span<const double> idsArg(const Napi::CallbackInfo& info, size_t index) {
  const auto ids = info[index].As<Napi::Float64Array>();
  return {ids.Data(), ids.ElementLength()};
}

Napi::Value number(Napi::Env env, uint64_t value) {
  return Napi::Number::New(env, static_cast<double>(value));
}

Napi::Value bytes(Napi::Env env, const RecordBuffer& from) {
  auto out = Napi::Uint8Array::New(env, from.size());
  std::copy(from.begin(), from.end(), out.Data());
  return out;
}

Napi::Value numbers(Napi::Env env, const std::vector<double>& from) {
  auto out = Napi::Float64Array::New(env, from.size());
  std::copy(from.begin(), from.end(), out.Data());
  return out;
}

// Runs `body` with what the engine throws turned into what JavaScript throws.
template <typename Body>
auto guarded(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Napi::Error::New(env, error.what());
  }
}

}  // namespace

Napi::Function EngineObject::define(Napi::Env env) {
  using Self = EngineObject;
  return DefineClass(env, "Engine",
                     {
                         InstanceMethod<&Self::addPod>("addPod"),
                         InstanceMethod<&Self::updatePod>("updatePod"),
                         InstanceMethod<&Self::removePod>("removePod"),
                         InstanceMethod<&Self::addCredential>("addCredential"),
                         InstanceMethod<&Self::setCredential>("setCredential"),
                         InstanceMethod<&Self::removeCredential>("removeCredential"),
                         InstanceMethod<&Self::group>("group"),
                         InstanceMethod<&Self::releaseGroup>("releaseGroup"),
                         InstanceMethod<&Self::decide>("decide"),
                         InstanceMethod<&Self::advanceEpoch>("advanceEpoch"),
                         InstanceMethod<&Self::flows>("flows"),
                         InstanceMethod<&Self::flowClasses>("flowClasses"),
                         InstanceMethod<&Self::closeFlows>("closeFlows"),
                         InstanceMethod<&Self::leaveFlow>("leaveFlow"),
                         InstanceMethod<&Self::tunnels>("tunnels"),
                         InstanceMethod<&Self::closeTunnels>("closeTunnels"),
                         InstanceMethod<&Self::heard>("heard"),
                         InstanceMethod<&Self::podLoads>("podLoads"),
                         InstanceMethod<&Self::stats>("stats"),
                         InstanceMethod<&Self::drain>("drain"),
                         InstanceMethod<&Self::stop>("stop"),
                         InstanceMethod<&Self::takeEvents>("takeEvents"),
                     });
}

EngineObject::EngineObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<EngineObject>(info) {
  Options options = optionsOf(info[0].As<Napi::Object>());
  // One queued call at most: the engine asks again only after its events were taken.
  wake_ = Napi::ThreadSafeFunction::New(info.Env(), info[1].As<Napi::Function>(), "warren-engine", 0, 1);
  guarded(info.Env(), [&] {
    engine_ = std::make_unique<Engine>(std::move(options), [wake = wake_]() { wake.NonBlockingCall(); });
  });
  // Threads must be gone before the environment is.
  napi_add_env_cleanup_hook(info.Env(), onEnvironmentEnd, this);
}

EngineObject::~EngineObject() {
  napi_remove_env_cleanup_hook(Env(), onEnvironmentEnd, this);
  end();
}

void EngineObject::onEnvironmentEnd(void* self) {
  static_cast<EngineObject*>(self)->end();
}

void EngineObject::end() {
  if (std::exchange(ended_, true)) return;
  if (engine_ != nullptr) engine_->stop();
  wake_.Release();
}

Napi::Value EngineObject::addPod(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&] { return number(info.Env(), engine_->addPod(podSpecOf(info[0].As<Napi::Object>()))); });
}

void EngineObject::updatePod(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const auto change = info[1].As<Napi::Object>();
    std::optional<std::vector<Address>> addresses;
    if (change.Get("addresses").IsArray()) {
      addresses.emplace();
      for (const std::string& host : textsField(change, "addresses")) {
        const auto address = Address::parseHost(host, 0);
        if (!address) throw EngineError("\"" + host + "\" is not an IP address");
        addresses->push_back(*address);
      }
    }
    engine_->updatePod(handleArg(info, 0), std::move(addresses), static_cast<uint64_t>(intField(change, "credential")));
  });
}

void EngineObject::removePod(const Napi::CallbackInfo& info) {
  guarded(info.Env(),
          [&] { engine_->removePod(handleArg(info, 0), info[1].ToNumber().Int64Value(), reasonArg(info, 2)); });
}

Napi::Value EngineObject::addCredential(const Napi::CallbackInfo& info) {
  return number(info.Env(), engine_->addCredential());
}

void EngineObject::setCredential(const Napi::CallbackInfo& info) {
  guarded(info.Env(),
          [&] { engine_->setCredential(handleArg(info, 0), credentialSpecOf(info[1].As<Napi::Object>())); });
}

void EngineObject::removeCredential(const Napi::CallbackInfo& info) {
  engine_->removeCredential(handleArg(info, 0));
}

Napi::Value EngineObject::group(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto spec = info[0].As<Napi::Object>();
    const auto handle =
        engine_->group(static_cast<uint64_t>(intField(spec, "pod")), addressOf(spec.Get("peer").As<Napi::Object>()),
                       textsField(spec, "expectedIdentities"));
    return number(info.Env(), handle);
  });
}

void EngineObject::releaseGroup(const Napi::CallbackInfo& info) {
  engine_->releaseGroup(handleArg(info, 0));
}

Napi::Value EngineObject::decide(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto records = info[0].As<Napi::Uint8Array>();
    const size_t length = std::min<size_t>(info[1].ToNumber().Uint32Value(), records.ByteLength());
    return Napi::Boolean::New(info.Env(), engine_->decide({records.Data(), length}));
  });
}

void EngineObject::advanceEpoch(const Napi::CallbackInfo& info) {
  engine_->advanceEpoch(handleArg(info, 0), handleArg(info, 1));
}

Napi::Value EngineObject::flows(const Napi::CallbackInfo& info) {
  RecordBuffer rows;
  engine_->flows(flowFilterOf(info[0].As<Napi::Object>()), rows);
  return bytes(info.Env(), rows);
}

Napi::Value EngineObject::flowClasses(const Napi::CallbackInfo& info) {
  FlowClasses classes;
  engine_->flowClasses(info[0].ToBoolean(), classes);
  auto out = Napi::Object::New(info.Env());
  out.Set("rows", bytes(info.Env(), classes.rows()));
  out.Set("counts", numbers(info.Env(), classes.counts()));
  out.Set("flows", numbers(info.Env(), classes.ids()));
  return out;
}

void EngineObject::closeFlows(const Napi::CallbackInfo& info) {
  engine_->closeFlows(idsArg(info, 0), reasonArg(info, 1));
}

void EngineObject::leaveFlow(const Napi::CallbackInfo& info) {
  engine_->leaveFlow(handleArg(info, 0), reasonArg(info, 1), info[2].ToBoolean());
}

Napi::Value EngineObject::tunnels(const Napi::CallbackInfo& info) {
  RecordBuffer rows;
  engine_->tunnels(rows);
  return bytes(info.Env(), rows);
}

void EngineObject::closeTunnels(const Napi::CallbackInfo& info) {
  engine_->closeTunnels(idsArg(info, 0), reasonArg(info, 1));
}

void EngineObject::heard(const Napi::CallbackInfo& info) {
  engine_->heard(handleArg(info, 0));
}

Napi::Value EngineObject::podLoads(const Napi::CallbackInfo& info) {
  auto rows = Napi::Array::New(info.Env());
  for (const PodLoad& load : engine_->podLoads()) {
    auto row = Napi::Object::New(info.Env());
    const auto set = [&](const char* name, auto value) { row.Set(name, static_cast<double>(value)); };
    set("pod", load.pod);
    set("flows", load.flows);
    set("inboundTunnels", load.inboundTunnels);
    set("outboundTunnels", load.outboundTunnels);
    set("bufferedBytes", load.bufferedBytes);
    rows.Set(rows.Length(), row);
  }
  return rows;
}

Napi::Value EngineObject::stats(const Napi::CallbackInfo& info) {
  const Stats stats = engine_->stats();
  auto out = Napi::Object::New(info.Env());
  const auto set = [&](const char* name, int64_t value) { out.Set(name, static_cast<double>(value)); };
  set("flowsOpen", stats.flowsOpen);
  set("flowsTotal", stats.flowsTotal);
  set("tunnelsOpen", stats.tunnelsOpen);
  set("tunnelsTotal", stats.tunnelsTotal);
  set("handshakesTotal", stats.handshakesTotal);
  set("handshakesFailedTotal", stats.handshakesFailedTotal);
  set("groups", stats.groups);
  set("credentials", stats.credentials);
  set("pods", stats.pods);
  set("rememberedDecisions", stats.rememberedDecisions);
  set("rememberedHitsTotal", stats.rememberedHitsTotal);
  set("decisionsTotal", stats.decisionsTotal);
  set("batchesTotal", stats.batchesTotal);
  set("bufferedBytes", stats.bufferedBytes);
  set("podBufferedBytesMax", stats.podBufferedBytesMax);
  set("memoryBytes", stats.memoryBytes);
  set("bytesSentTotal", stats.bytesSentTotal);
  set("bytesReceivedTotal", stats.bytesReceivedTotal);
  set("retriesTotal", stats.retriesTotal);
  set("shedTotal", stats.shedTotal);
  set("acceptPausesTotal", stats.acceptPausesTotal);
  return out;
}

void EngineObject::drain(const Napi::CallbackInfo&) {
  engine_->drain();
}

void EngineObject::stop(const Napi::CallbackInfo&) {
  end();
}

// Copies whole records into the given buffer; 0 when there are no more, after which workers wake JavaScript again.
Napi::Value EngineObject::takeEvents(const Napi::CallbackInfo& info) {
  auto into = info[0].As<Napi::Uint8Array>();
  if (takenAt_ == taken_.size()) {
    takenAt_ = 0;
    if (!engine_->takeEvents(taken_)) return Napi::Number::New(info.Env(), 0);
  }
  size_t copied = 0;
  while (takenAt_ + copied < taken_.size()) {
    uint32_t size = 0;
    std::memcpy(&size, taken_.data() + takenAt_ + copied, sizeof size);
    if (copied + size > into.ByteLength()) break;
    copied += size;
  }
  std::memcpy(into.Data(), taken_.data() + takenAt_, copied);
  takenAt_ += copied;
  return Napi::Number::New(info.Env(), static_cast<double>(copied));
}

}  // namespace warren::engine
