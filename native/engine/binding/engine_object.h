#pragma once

#include <napi.h>

#include <memory>

#include "engine/core/engine.h"

namespace warren::engine {

// The engine as TypeScript sees it (src/tunnel/native/addon.ts declares it). Arguments are read here, on the JavaScript
// thread; workers reach JavaScript by one thread-safe function only.
class EngineObject : public Napi::ObjectWrap<EngineObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit EngineObject(const Napi::CallbackInfo& info);
  ~EngineObject() override;

 private:
  Napi::Value addPod(const Napi::CallbackInfo& info);
  void updatePod(const Napi::CallbackInfo& info);
  void removePod(const Napi::CallbackInfo& info);
  Napi::Value addCredential(const Napi::CallbackInfo& info);
  void setCredential(const Napi::CallbackInfo& info);
  void removeCredential(const Napi::CallbackInfo& info);
  Napi::Value group(const Napi::CallbackInfo& info);
  void releaseGroup(const Napi::CallbackInfo& info);
  Napi::Value decide(const Napi::CallbackInfo& info);
  void advanceEpoch(const Napi::CallbackInfo& info);
  Napi::Value flows(const Napi::CallbackInfo& info);
  Napi::Value flowClasses(const Napi::CallbackInfo& info);
  void closeFlows(const Napi::CallbackInfo& info);
  Napi::Value tunnels(const Napi::CallbackInfo& info);
  void closeTunnels(const Napi::CallbackInfo& info);
  void leaveFlow(const Napi::CallbackInfo& info);
  void heard(const Napi::CallbackInfo& info);
  Napi::Value podLoads(const Napi::CallbackInfo& info);
  Napi::Value stats(const Napi::CallbackInfo& info);
  void drain(const Napi::CallbackInfo& info);
  void stop(const Napi::CallbackInfo& info);
  Napi::Value takeEvents(const Napi::CallbackInfo& info);

  static void onEnvironmentEnd(void* self);
  void end();

  Napi::ThreadSafeFunction wake_;
  bool ended_ = false;
  RecordBuffer taken_;
  size_t takenAt_ = 0;
  std::unique_ptr<Engine> engine_;
};

}  // namespace warren::engine
