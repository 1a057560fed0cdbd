import { isIPv4 } from "node:net";
import type { SocketMarks } from "../model/sockets.ts";
import type { DeliveryRouting } from "./addon.ts";

/** `leave` is known to the nftables rules only; `deliver` also to `bpf/shared.h`. */
export const socketMarks: SocketMarks = { leave: 0x539, deliver: 0x111 };

const markMask = 0xfff;
/** A routing table and a rule priority that no distribution uses by itself, between `local` (0) and `main` (32766). */
const deliveryTable = 15006;
const rulePriority = 1501;

export function familyOf(address: string): 4 | 6 {
  return isIPv4(address) ? 4 : 6;
}

export function familiesOf(addresses: readonly string[]): (4 | 6)[] {
  return ([4, 6] as const).filter((family) => addresses.some((address) => familyOf(address) === family));
}

/**
 * A delivery has the client's source address, so the application's answer must turn back to the agent instead of leaving: its
 * packets carry the mark of the delivery, and a rule sends marked packets to a table where every address is local.
 */
export function deliveryRouting(families: readonly (4 | 6)[]): DeliveryRouting {
  return { families, mark: socketMarks.deliver, mask: markMask, table: deliveryTable, priority: rulePriority };
}
