#pragma once

#include <napi.h>

namespace warren::capture {

// probeKernel, addDeliveryRouting, removeDeliveryRouting, nft, nftTry, probe.
void export_kernel(Napi::Env env, Napi::Object exports);

}  // namespace warren::capture
