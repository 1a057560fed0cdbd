/** Which events a tap wants. All that is given must agree; nothing given takes everything. */
import type { Workload } from "../../model/workload.ts";
import { reporterOf, type securityOf } from "../flow-record.ts";
import type { TapEndpoint, TapEvent } from "./tap-event.ts";

/** A workload by its pod's name, or by its owner's as `Kind/name`. */
export interface TapParty {
  readonly namespace?: string;
  readonly workload?: string;
}

export interface TapFilter {
  readonly source?: TapParty;
  readonly destination?: TapParty;
  /** Either end: what a person means who taps a workload. */
  readonly party?: TapParty;
  readonly podUid?: string;
  readonly destinationPort?: number;
  readonly security?: ReturnType<typeof securityOf>;
  readonly side?: "source" | "destination";
  readonly verdict?: "allowed" | "refused";
}

export function tapWants(filter: TapFilter, event: TapEvent): boolean {
  const { source, destination, party, podUid, destinationPort, security, side, verdict } = filter;
  if (podUid !== undefined && podUid !== event.podUid) return false;
  if (destinationPort !== undefined && destinationPort !== event.destination.address.port) return false;
  if (security !== undefined && security !== event.security) return false;
  if (side !== undefined && side !== reporterOf(event.role)) return false;
  if (verdict !== undefined && (verdict === "refused") !== isRefused(event)) return false;
  if (source !== undefined && !isParty(source, event.source)) return false;
  if (destination !== undefined && !isParty(destination, event.destination)) return false;
  return party === undefined || isParty(party, event.source) || isParty(party, event.destination);
}

function isRefused({ happened }: TapEvent): boolean {
  return happened.kind === "refused" || (happened.kind === "request" && happened.refused);
}

function isParty({ namespace, workload: name }: TapParty, { workload }: TapEndpoint): boolean {
  if (workload === undefined) return false;
  if (namespace !== undefined && namespace !== workload.namespace) return false;
  return name === undefined || name === workload.name || name === ownerOf(workload);
}

function ownerOf({ owner }: Workload): string {
  return `${owner.kind}/${owner.name}`;
}
