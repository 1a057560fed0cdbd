/** Flows between pods of this node that were joined without a tunnel: who is on both ends, and what each end's record says. */
import type { FlowLabel } from "../model/flow-label.ts";
import type { Identity } from "../model/identity.ts";
import type { LocalPod, WorkloadUid } from "../model/workload.ts";
import type { FlowClosed, FlowRow, PodHandle } from "./engine.ts";
import type { LocalPair, LocalPods } from "./local.ts";

export interface LocalFlowsDeps {
  pods(): Iterable<LocalPod>;
  proven(identity: Identity): boolean;
  label(row: Pick<FlowRow, "label" | "target">): FlowLabel;
  /** The pod that a flow was accepted for. */
  accepted(pod: PodHandle): LocalPod | undefined;
}

/** One end's view of a flow that has ended. */
export interface LocalSide {
  readonly record: FlowClosed;
  readonly pod: LocalPod | undefined;
}

export class LocalFlows implements LocalPods {
  readonly #deps: LocalFlowsDeps;
  /** Whether there ever was one: where there was none, nobody need look among the flows that leave pods. */
  joinedAny = false;
  #byWorkload: ReadonlyMap<WorkloadUid, LocalPod> | undefined;

  constructor(deps: LocalFlowsDeps) {
    this.#deps = deps;
  }

  /** Call when a pod came, changed or went. */
  changed(): void {
    this.#byWorkload = undefined;
  }

  pod(workload: WorkloadUid): LocalPod | undefined {
    this.#byWorkload ??= new Map(Array.from(this.#deps.pods(), (pod) => [pod.workload, pod]));
    return this.#byWorkload.get(workload);
  }

  proven(identity: Identity): boolean {
    return this.#deps.proven(identity);
  }

  /** Undefined also when the server's pod has left: whoever removed it ends its flows. */
  pair(row: FlowRow): LocalPair | undefined {
    const { local, destination } = this.#deps.label(row);
    if (local !== true || destination === undefined || row.target === undefined) return undefined;
    const client = this.#deps.accepted(row.pod);
    const server = this.pod(destination.uid);
    if (client === undefined || server === undefined) return undefined;
    return { client, server, destination: { ...row.target } };
  }

  /** What two agents would tell of it, had it gone through a tunnel: the client's side, then the server's. */
  sides(record: FlowClosed, label: FlowLabel, client: LocalPod | undefined): LocalSide[] {
    const { source, destination } = label;
    const server = destination && this.pod(destination.uid);
    const address = client?.addresses.find(
      (one) => record.target && one.includes(":") === record.target.address.includes(":"),
    );
    const arrived = { address: address ?? record.source.address, port: record.source.port };
    return [
      { record: { ...record, peer: destination?.identity ?? "" }, pod: client },
      {
        record: {
          ...record,
          role: "inbound-plaintext",
          source: arrived,
          destination: record.target ?? record.destination,
          peer: source?.identity ?? "",
        },
        pod: server,
      },
    ];
  }
}
