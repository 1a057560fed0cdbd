/** What of the mesh does not come through to its clients: objects that can't be told, and clients that take not all. Pure. */
import type { ClientStatus } from "../discovery/discovery-stream.ts";
import type { Untold } from "../discovery/resource-encoder.ts";

export interface DiscoveryFinding {
  readonly code: "resource-untold" | "client-rejects";
  /** Of the resource, or `node/name` of the client. */
  readonly object: string;
  readonly message: string;
}

/** What a client has rejected, and not again since, it may have been told right by now. */
const freshMs = 3_600_000;
/** A mesh where everything is wrong should not need a message of megabytes. */
const most = 200;

export function discoveryFindings(untold: readonly Untold[], clients: readonly ClientStatus[]): DiscoveryFinding[] {
  const objects = untold.map(({ object, message }): DiscoveryFinding => ({ code: "resource-untold", object, message }));
  // Agents of ours tell by themselves what they can't use, for as long as they can't.
  const rejecting = clients.flatMap(({ agent, node, id, types }) => (agent ? [] : rejections(`${node}/${id}`, types)));
  return [...objects.slice(0, most), ...rejecting.slice(0, most)];
}

function rejections(object: string, types: ClientStatus["types"]): DiscoveryFinding[] {
  return Object.entries(types).flatMap(([type, { rejected, rejectedMs, lastRejection }]): DiscoveryFinding[] => {
    if (rejectedMs === undefined || rejectedMs > freshMs) return [];
    const minutes = Math.floor(rejectedMs / 60_000);
    const message = `rejected ${rejected} responses of ${type}, the last ${minutes} min ago: ${lastRejection}`;
    return [{ code: "client-rejects", object, message }];
  });
}
