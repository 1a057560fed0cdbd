#pragma once

#include <napi.h>

#include <functional>

#include "result.h"

namespace warren::capture {

// Brings results of other threads to the JavaScript thread. It keeps the event loop alive only while something is under
// way.
class Completions {
 public:
  using Settle = std::function<void(Napi::Env)>;

  explicit Completions(Napi::Env env)
      : call_(Napi::ThreadSafeFunction::New(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}),
                                            "warren-capture", 0, 1)) {
    call_.Unref(env);
  }

  // JavaScript thread: one more result to come.
  void expect(Napi::Env env) {
    if (pending_++ == 0) call_.Ref(env);
  }

  // Any thread: `settle` runs on the JavaScript thread and consumes one expectation.
  void deliver(Settle settle) {
    call_.NonBlockingCall([this, settle = std::move(settle)](Napi::Env env, Napi::Function) {
      if (--pending_ == 0) call_.Unref(env);
      settle(env);
    });
  }

  // Any thread: `notify` runs on the JavaScript thread; it never keeps the loop alive.
  void notify(Settle settle) {
    call_.NonBlockingCall([settle = std::move(settle)](Napi::Env env, Napi::Function) { settle(env); });
  }

  // JavaScript thread, after every other thread has ended.
  void close() { call_.Release(); }

 private:
  Napi::ThreadSafeFunction call_;
  int pending_ = 0;  // JavaScript thread only
};

}  // namespace warren::capture
