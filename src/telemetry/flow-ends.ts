/** Who was at each end of a connection, as far as it is known: shared by all that tell of one. */
import type { FlowLabel } from "../model/flow-label.ts";
import type { Identity } from "../model/identity.ts";
import type { LocalPod, Workload } from "../model/workload.ts";
import { type FlowProgress, securityOf } from "./flow-record.ts";

export interface FlowEnd {
  readonly workload?: string;
  readonly namespace?: string;
  /** Only as proven: by mutual TLS, or by the network namespace that an end's socket is in. */
  readonly identity: Identity | undefined;
}

export function flowEnds(
  record: FlowProgress,
  label: FlowLabel,
  pod: LocalPod | undefined,
): { readonly source: FlowEnd; readonly destination: FlowEnd } {
  const outbound = record.role === "outbound";
  const security = securityOf(record, label);
  const own = security === "mutual_tls" || security === "local" ? pod?.identity : undefined;
  const peer = record.peer === "" ? undefined : record.peer;
  return {
    source: { ...named(label.source, outbound ? pod : undefined), identity: outbound ? own : peer },
    destination: { ...named(label.destination, outbound ? undefined : pod), identity: outbound ? peer : own },
  };
}

function named(workload: Workload | undefined, pod: LocalPod | undefined): Pick<FlowEnd, "workload" | "namespace"> {
  if (workload !== undefined) return { workload: workload.name, namespace: workload.namespace };
  return pod === undefined ? {} : { workload: pod.name, namespace: pod.namespace };
}
