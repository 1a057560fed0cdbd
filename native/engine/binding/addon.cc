// Entry of warren_engine.node.
#include <napi.h>
#include <openssl/crypto.h>
#include <openssl/opensslv.h>

#include "engine/binding/engine_object.h"

namespace {

constexpr unsigned kMajor = 28;
constexpr unsigned kMinor = 20;

// The addon was compiled against the headers of one OpenSSL and runs with the one inside Node: they must agree in major
// and minor version, between which the library keeps its binary interface.
void checkOpenSsl(Napi::Env env) {
  const unsigned long runtime = OpenSSL_version_num();
  constexpr unsigned long compiled = OPENSSL_VERSION_NUMBER;
  if (runtime >> kMajor != compiled >> kMajor || runtime >> kMinor != compiled >> kMinor) {
    throw Napi::Error::New(env, std::string("the engine was built for ") + OPENSSL_VERSION_TEXT +
                                    " and this Node has " + OpenSSL_version(OPENSSL_VERSION) +
                                    "; run npm run build:native with this Node");
  }
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  checkOpenSsl(env);
  exports.Set("Engine", warren::engine::EngineObject::define(env));
  exports.Set("nghttp2Header", NGHTTP2_VERSION);
  return exports;
}

}  // namespace

NODE_API_MODULE(warren_engine, init)
