#pragma once

#include <cstdint>
#include <optional>

#include "base/fd.h"
#include "engine/base/address.h"

namespace warren::engine {

enum class OriginalDestinationKind : uint8_t { map, conntrack, fixed };

// How the destination that an application asked for is found; as `OriginalDestination` of src/model/sockets.ts.
struct OriginalDestination {
  OriginalDestinationKind kind = OriginalDestinationKind::fixed;
  Fd map;
  uint64_t netnsCookie = 0;
  Address fixed;
};

// `peer` is the accepted socket's remote address; `captured` says that it came through 15001 and not 15006. Nothing
// found means: close the connection, never guess.
std::optional<Address> findOriginalDestination(const OriginalDestination& how, int fd, const Address& peer,
                                               bool captured);

}  // namespace warren::engine
