// Entry of warren_engine.node.
#include <napi.h>
#include <nghttp2/nghttp2.h>
#include <openssl/opensslv.h>

#include "engine/binding/engine_object.h"

namespace {

// The versions are those of the headers; whether this Node's own libraries go with them is judged in
// src/tunnel/native/addon.ts, before an engine is made.
Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("Engine", warren::engine::EngineObject::define(env));
  exports.Set("nghttp2Header", NGHTTP2_VERSION);
  exports.Set("openSslHeader", OPENSSL_VERSION_STR);
  return exports;
}

}  // namespace

NODE_API_MODULE(warren_engine, init)
