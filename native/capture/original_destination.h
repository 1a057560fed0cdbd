#pragma once

#include <cstdint>
#include <optional>

#include "ip_address.h"
#include "result.h"

namespace warren::capture {

// SO_ORIGINAL_DST / IP6T_SO_ORIGINAL_DST: what conntrack remembers of a connection that nftables redirected.
std::optional<IpEndpoint> conntrack_destination(int socket_fd);

// Looks up and deletes the peer's entry in the `orig_dst` map (bpf/shared.h).
std::optional<IpEndpoint> map_destination(int socket_fd, int map_fd, std::uint64_t netns_cookie);

// The address that the packet was sent to; sk_lookup rewrites nothing.
std::optional<IpEndpoint> local_destination(int socket_fd);

}  // namespace warren::capture
