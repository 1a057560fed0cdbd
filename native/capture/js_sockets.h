#pragma once

#include <napi.h>

namespace warren::capture {

// netnsOpen, netnsAddresses, listen, localPort, openSocket, originalDestination.
void export_sockets(Napi::Env env, Napi::Object exports);

}  // namespace warren::capture
