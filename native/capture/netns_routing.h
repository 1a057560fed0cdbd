#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ip_address.h"
#include "result.h"

namespace warren::capture {

struct DeliveryRouting {
  std::vector<Family> families;
  std::uint32_t mark = 0;
  std::uint32_t mask = 0;
  std::uint32_t table = 0;
  std::uint32_t priority = 0;
};

// What deliveries with a preserved source address need in the pod's netns (the calling thread's): packets with the mark
// are local whatever their address, and answers carry the mark of what they answer. Idempotent.
Result<Unit> add_delivery_routing(const DeliveryRouting& routing);
Result<Unit> remove_delivery_routing(const DeliveryRouting& routing);

}  // namespace warren::capture
