/** What is open now, with the names that an engine does not know: flows, tunnels, and what each pod takes of its limits. Reads only. */
import type { FlowLabel } from "../model/flow-label.ts";
import type { LocalPod } from "../model/workload.ts";
import type { OpenFlow, OpenTunnel, PodShare } from "./driver.ts";
import type { Engine, FlowFilter, FlowRow, PodHandle } from "./engine.ts";

export interface ListingsDeps {
  readonly engine: Pick<Engine, "flowRows" | "tunnels" | "podLoads">;
  label(row: Pick<FlowRow, "label" | "target">): FlowLabel;
  localPod(pod: PodHandle): LocalPod | undefined;
}

export class Listings {
  readonly #deps: ListingsDeps;

  constructor(deps: ListingsDeps) {
    this.#deps = deps;
  }

  *flows(filter: FlowFilter): Generator<OpenFlow, void, void> {
    for (const row of this.#deps.engine.flowRows(filter)) {
      const judged = this.#deps.label(row);
      const peer = judged.local === true ? (judged.destination?.identity ?? row.peer) : row.peer;
      yield { ...row, peer, judged, localPod: this.#deps.localPod(row.pod) };
    }
  }

  tunnels(): OpenTunnel[] {
    const tunnels: OpenTunnel[] = [];
    this.#deps.engine.tunnels((info) => tunnels.push({ ...info, localPod: this.#deps.localPod(info.pod) }));
    return tunnels;
  }

  podShares(): PodShare[] {
    return this.#deps.engine.podLoads().map((load) => ({ ...load, localPod: this.#deps.localPod(load.pod) }));
  }
}
