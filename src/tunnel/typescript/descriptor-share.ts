/** Keeps the last descriptors of the process for pods that do not have more than their share. */
import type { EngineLimits } from "../engine.ts";
import type { Pod } from "./pod.ts";

/** The last part of the process's descriptors, which is kept. */
const reserved = 1 / 8;
/** Of a flow at most, in either engine: the accepted socket, the two ends between which its requests are judged, and the application's. */
const flowDescriptors = 4;

export class DescriptorShare {
  readonly #limits: Pick<EngineLimits, "descriptors">;
  readonly #pods: () => number;

  constructor(deps: { pods: () => number }, limits: Pick<EngineLimits, "descriptors">) {
    this.#pods = deps.pods;
    this.#limits = limits;
  }

  /** Descriptors are getting few, as the number of a new one tells, and the pod has more than its share of them. */
  crowdsOut({ flows, inboundTunnels, handshakes, outboundTunnels }: Pod, fd: number): boolean {
    const most = this.#limits.descriptors;
    const shared = most - Math.floor(most * reserved);
    // The lowest free number is given out (open(2)): as many as this one are in use.
    if (most === 0 || fd < shared) return false;
    const held = flowDescriptors * flows.size + inboundTunnels.size + handshakes.size + outboundTunnels;
    return held > shared / Math.max(1, this.#pods());
  }
}
