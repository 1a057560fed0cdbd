/** Decisions that tests repeat. */

import type { SocketAddress } from "../../../src/model/address.ts";
import type { CarryDecision, DialDecision, GroupHandle, PodHandle } from "../../../src/tunnel/engine.ts";

export function carry(...groups: GroupHandle[]): CarryDecision {
  return {
    kind: "carry",
    label: 1,
    targets: groups.map((group) => ({ group, authority: "10.0.0.1:80", weight: 1 })),
    baggage: "",
    forwardedHost: "",
  };
}

export function dialTo(from: PodHandle, ...destinations: SocketAddress[]): DialDecision {
  return {
    kind: "dial",
    label: 2,
    targets: destinations.map((destination) => ({ destination, weight: 1 })),
    from,
    purpose: "leave",
    baggage: "",
  };
}
