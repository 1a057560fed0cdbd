#pragma once

#include <napi.h>

namespace warren::capture {

// openSteering, which resolves to a Steering object.
void export_steering(Napi::Env env, Napi::Object exports);

}  // namespace warren::capture
