/**
 * What travels on a discovery stream, and how model objects become it and come back. Encoders and decoders are pure. Decoders are the
 * edge: whatever a peer sends is checked there, and a resource that cannot be right throws InvalidResource and harms nobody else.
 */
import { MeshError } from "../../lib/errors.ts";

const prefix = "type.googleapis.com/";

/** Type URLs, by the short names that logs and listings use. */
export const resourceTypes = {
  settings: `${prefix}warren.mesh.v1.Settings`,
  policy: `${prefix}warren.policy.v1.Policy`,
  authorization: `${prefix}istio.security.Authorization`,
  address: `${prefix}istio.workload.Address`,
  localPod: `${prefix}warren.node.v1.LocalPod`,
} as const;

export type ResourceType = keyof typeof resourceTypes;

const byUrl: ReadonlyMap<string, ResourceType> = new Map(
  Object.entries(resourceTypes).map(([type, url]) => [url, type as ResourceType]),
);

export function resourceTypeOf(url: string): ResourceType | undefined {
  return byUrl.get(url);
}

/** One resource as a stream carries it. */
export interface NamedResource {
  readonly name: string;
  /** Other names it can be subscribed by, `network/ip`. */
  readonly aliases: readonly string[];
  /** The message inside its `Any`. */
  readonly bytes: Uint8Array;
}

/** A resource that says something impossible. */
export class InvalidResource extends MeshError {
  constructor(message: string, options?: { cause?: unknown }) {
    super("MESH_RESOURCE_INVALID", message, options);
  }
}

/** The node metadata key by which a client says that it understands `more`. */
export const chunkedKey = "WARREN_CHUNKED";
