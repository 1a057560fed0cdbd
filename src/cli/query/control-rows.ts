/** Replicas of the control plane as verbs show them. Pure. */
import type { Control } from "../../xds/gen/warren/operator/v1/operator_pb.ts";
import { isoTime } from "../output/words.ts";

export interface ControlRow {
  readonly name: string;
  readonly version: string;
  readonly startedAt: string;
  readonly trustDomain: string;
  /** What the start still waits for. */
  readonly blockers: readonly string[];
  /** The authority's certificates, and its own serving certificate. */
  readonly certificates: readonly { readonly name: string; readonly notAfter: string }[];
  readonly agents: readonly { readonly node: string; readonly version: string; readonly connectedAt: string }[];
}

export function controlRow({
  name,
  version,
  startedAt,
  trustDomain,
  blockers,
  certificates,
  agents,
}: Control): ControlRow {
  return {
    name,
    version,
    startedAt: isoTime(startedAt),
    trustDomain,
    blockers,
    certificates: certificates.map((one) => ({ name: one.name, notAfter: isoTime(one.notAfter) })),
    agents: agents.map((one) => ({ node: one.node, version: one.version, connectedAt: isoTime(one.connectedAt) })),
  };
}
