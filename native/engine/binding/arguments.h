#pragma once

#include <napi.h>

#include <string>
#include <vector>

#include "engine/core/engine.h"

namespace warren::engine {

// Reading what TypeScript passes. Its types were checked there; these refuse what could not be read at all.
int64_t intField(const Napi::Object& object, const char* name);
std::string textField(const Napi::Object& object, const char* name);
std::vector<std::string> textsField(const Napi::Object& object, const char* name);
Address addressOf(const Napi::Object& object);

Options optionsOf(const Napi::Object& object);
PodSpec podSpecOf(const Napi::Object& object);
CredentialSpec credentialSpecOf(const Napi::Object& object);
FlowFilter flowFilterOf(const Napi::Object& object);

}  // namespace warren::engine
