/** What `tls-check` and `proxy-config listeners` both tell of: the ports of workloads, what each accepts and who came. */
import type { MeshView } from "../../model/mesh.ts";
import type { Workload } from "../../model/workload.ts";
import type { AskOptions, Outcome } from "../query/asked.ts";
import type { MeshClient } from "../query/mesh-client.ts";
import { findWorkloads } from "../query/workload-reference.ts";
import { gatherSockets, gatherWindow } from "./gather.ts";
import { type TlsCheckRow, tlsCheckRows } from "./tls-check-rows.ts";

export interface PortQuestion extends AskOptions {
  /** Absent for all workloads. */
  readonly reference: string | undefined;
  /** Of what the reference names without one; without a reference, of all that is told. */
  readonly namespace: string | undefined;
  /** How far back clients count, milliseconds. */
  readonly window: number;
}

export interface PortFacts {
  readonly view: MeshView;
  readonly workloads: readonly Workload[];
  readonly rows: readonly TlsCheckRow[];
  /** From when on each node's agent has watched. */
  readonly since: ReadonlyMap<string, number>;
  readonly outcome: Outcome;
}

export async function portFacts(mesh: MeshClient, question: PortQuestion, signal: AbortSignal): Promise<PortFacts> {
  const { reference, namespace, window, ...asking } = question;
  const view = await mesh.mesh(signal);
  const workloads =
    reference === undefined
      ? [...view.workloads()].filter((workload) => namespace === undefined || workload.namespace === namespace)
      : findWorkloads(view, reference, namespace ?? mesh.defaultNamespace);
  // Agents need not tell of other namespaces where all that is meant is in one.
  const [first] = workloads;
  const one = workloads.every((workload) => workload.namespace === first?.namespace) ? first?.namespace : undefined;
  const asked = { ...asking, namespace: one };
  const [traffic, sockets] = await Promise.all([
    gatherWindow(mesh, { ...asked, window }, signal),
    gatherSockets(mesh, asked, signal),
  ]);
  const since = new Map(traffic.coverage.map((coverage) => [coverage.node, coverage.since]));
  const rows = tlsCheckRows({ view, workloads, rows: traffic.rows, sockets: sockets.pods, since });
  return { view, workloads, rows, since, outcome: traffic.outcome };
}
