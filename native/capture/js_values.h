#pragma once

#include <napi.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "ip_address.h"

// Values of the typed face (src/capture/addon.ts) in C++. Their types are checked by TypeScript, not here.
namespace warren::capture {

inline std::optional<std::string> optional_string(const Napi::Object& from, const char* name) {
  const Napi::Value value = from.Get(name);
  if (value.IsUndefined()) return std::nullopt;
  return value.As<Napi::String>().Utf8Value();
}

inline std::uint32_t uint_of(const Napi::Object& from, const char* name) {
  return from.Get(name).As<Napi::Number>().Uint32Value();
}

inline bool bool_of(const Napi::Object& from, const char* name) {
  return from.Get(name).ToBoolean().Value();
}

inline Family family_of(const Napi::Object& from) {
  return uint_of(from, "family") == 4 ? Family::kV4 : Family::kV6;
}

inline std::uint64_t bigint_of(const Napi::Value& value) {
  bool lossless = false;
  return value.As<Napi::BigInt>().Uint64Value(&lossless);
}

inline Napi::Value to_fd(Napi::Env env, Fd& fd) {
  return Napi::Number::New(env, fd.release());
}

inline Napi::Value string_array(Napi::Env env, const std::vector<std::string>& strings) {
  Napi::Array result = Napi::Array::New(env, strings.size());
  for (std::uint32_t i = 0; i < strings.size(); i++) result[i] = Napi::String::New(env, strings[i]);
  return result;
}

inline Napi::Value socket_address(Napi::Env env, const IpEndpoint& endpoint) {
  Napi::Object result = Napi::Object::New(env);
  result["address"] = Napi::String::New(env, endpoint.address());
  result["port"] = Napi::Number::New(env, endpoint.port());
  return result;
}

}  // namespace warren::capture
