#pragma once

#include <napi.h>

namespace warren::capture {

void export_sock_diag(Napi::Env env, Napi::Object exports);

}  // namespace warren::capture
