// The capture addon: what src/capture needs of the kernel and JavaScript cannot do. It decides nothing and logs
// nothing. Exceptions exist in this file and its siblings js_*.cc only; everything below returns Result.
#include <napi.h>

#include "addon_state.h"
#include "js_kernel.h"
#include "js_seqpacket.h"
#include "js_sock_diag.h"
#include "js_sockets.h"
#include "js_steering.h"
#include "memory_trim.h"

namespace warren::capture {

namespace {

Napi::Value use_error_class(const Napi::CallbackInfo& info) {
  state_of(info.Env()).set_error_class(info[0].As<Napi::Function>());
  return info.Env().Undefined();
}

Napi::Value trim_memory(const Napi::CallbackInfo& info) {
  return_freed_memory();
  unmap_program_pages();
  return info.Env().Undefined();
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new AddonState(env));  // NOLINT(cppcoreguidelines-owning-memory): Node-API deletes it
  exports.Set("useErrorClass", Napi::Function::New(env, use_error_class));
  exports.Set("trimMemory", Napi::Function::New(env, trim_memory));
  export_sockets(env, exports);
  export_kernel(env, exports);
  export_seqpacket(env, exports);
  export_steering(env, exports);
  export_sock_diag(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(warren_capture, initialize)

}  // namespace warren::capture
