#pragma once

#include <fcntl.h>
#include <napi.h>

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "completions.h"
#include "event_reader.h"
#include "netns_thread.h"
#include "result.h"
#include "seqpacket_channel.h"

namespace warren::capture {

// What one JavaScript environment owns. Threads end in the cleanup hook, before the environment goes.
class AddonState {
 public:
  explicit AddonState(Napi::Env env) : completions_(env) {
    env.AddCleanupHook([this] {
      readers_.clear();
      channels_.clear();
      thread_.reset();
      completions_.close();
    });
  }

  NetnsThread& thread() { return *thread_; }
  Completions& completions() { return completions_; }

  // Readers end with the environment at the latest.
  EventReader* keep_reader(std::unique_ptr<EventReader> reader) {
    return readers_.emplace_back(std::move(reader)).get();
  }
  void stop_reader(EventReader* reader) {
    std::erase_if(readers_, [reader](const auto& kept) { return kept.get() == reader; });
  }

  // Channels, too: their threads must not deliver to an environment that is gone.
  void keep_channel(const std::shared_ptr<SeqpacketChannel>& channel) { channels_.push_back(channel); }
  void forget_channel(const std::shared_ptr<SeqpacketChannel>& channel) { std::erase(channels_, channel); }

  void set_error_class(Napi::Function error_class) { error_class_ = Napi::Persistent(error_class); }

  // An instance of the error class that src/capture handed in, carrying the stable code.
  Napi::Error error(Napi::Env env, const Failure& failure) {
    if (error_class_.IsEmpty()) return Napi::Error::New(env, failure.code + ": " + failure.message);
    const Napi::Object instance =
        error_class_.New({Napi::String::New(env, failure.code), Napi::String::New(env, failure.message)});
    return Napi::Error(env, instance);
  }

  // Runs `work` on the netns thread, at home, and settles a promise with what it made.
  template <class T>
  Napi::Promise perform(Napi::Env env, std::function<Result<T>()> work,
                        std::function<Napi::Value(Napi::Env, T&)> convert) {
    auto deferred = std::make_shared<Napi::Promise::Deferred>(env);
    const Napi::Promise promise = deferred->Promise();
    completions_.expect(env);
    thread_->post([this, deferred, work = std::move(work), convert = std::move(convert)] {
      auto result = std::make_shared<Result<T>>(work());
      completions_.deliver([this, deferred, result, convert](Napi::Env settle_env) {
        if (result->ok()) {
          deferred->Resolve(convert(settle_env, result->value()));
        } else {
          deferred->Reject(error(settle_env, result->failure()).Value());
        }
      });
    });
    return promise;
  }

  // As `perform`, inside the namespace. The descriptor is duplicated, so the caller may close its own at any time.
  template <class T>
  Napi::Promise perform_inside(Napi::Env env, int netns_fd, std::function<Result<T>()> visit,
                               std::function<Napi::Value(Napi::Env, T&)> convert) {
    auto held = std::make_shared<Fd>(::fcntl(netns_fd, F_DUPFD_CLOEXEC, 0));
    return perform<T>(
        env, [this, held, visit = std::move(visit)] { return thread_->inside<T>(held->get(), visit); },
        std::move(convert));
  }

 private:
  std::vector<std::unique_ptr<EventReader>> readers_;
  std::vector<std::shared_ptr<SeqpacketChannel>> channels_;
  std::unique_ptr<NetnsThread> thread_ = std::make_unique<NetnsThread>();
  Completions completions_;
  Napi::FunctionReference error_class_;
};

inline AddonState& state_of(Napi::Env env) {
  return *env.GetInstanceData<AddonState>();
}

inline Napi::Value to_undefined(Napi::Env env, Unit&) {
  return env.Undefined();
}

}  // namespace warren::capture
