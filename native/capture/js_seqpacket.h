#pragma once

#include <napi.h>

namespace warren::capture {

void export_seqpacket(Napi::Env env, Napi::Object exports);

}  // namespace warren::capture
