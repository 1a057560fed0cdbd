/** Asks the mesh for all that a plaintext report is made of, and makes it. */
import type { AskOptions, Outcome } from "../query/asked.ts";
import type { MeshClient } from "../query/mesh-client.ts";
import { gatherSockets, gatherTraffic } from "./gather.ts";
import { type PlaintextRow, plaintextRows } from "./plaintext-report.ts";
import { type PlaintextSummary, summaryOf } from "./plaintext-words.ts";
import { inScope, scopeOf } from "./strict-rehearsal.ts";

export interface ReportOptions extends AskOptions {
  readonly window: number;
  readonly namespace: string | undefined;
  readonly rehearseStrict: string | undefined;
}

export interface PlaintextReport {
  readonly rows: readonly PlaintextRow[];
  readonly summary: PlaintextSummary;
  readonly outcome: Outcome;
}

export async function reportPlaintext(
  mesh: MeshClient,
  { window, namespace, rehearseStrict, ...asking }: ReportOptions,
  signal: AbortSignal,
): Promise<PlaintextReport> {
  const view = await mesh.mesh(signal);
  const scope =
    rehearseStrict === undefined ? undefined : scopeOf(view, rehearseStrict, namespace ?? mesh.defaultNamespace);
  const [traffic, sockets] = await Promise.all([
    gatherTraffic(mesh, { ...asking, window }, signal),
    gatherSockets(mesh, asking, signal),
  ]);
  const meant = ({ workload }: { readonly workload: Parameters<typeof view.workload>[0] }) => {
    if (scope === undefined) return true;
    const own = view.workload(workload);
    return own !== undefined && inScope(scope, own);
  };
  const { hosts } = traffic;
  const all = plaintextRows({
    view,
    rows: traffic.rows.filter(meant),
    sockets: sockets.pods.filter(meant),
    hosts,
    scope,
  });
  const rows = all.filter(({ destination, client }) => {
    // A rehearsal is about what comes in.
    if (scope !== undefined) return destination.kind === "enrolled";
    return namespace === undefined || destination.namespace === namespace || client.namespace === namespace;
  });
  const summary = summaryOf({
    rows,
    coverage: traffic.coverage,
    missing: traffic.outcome.failures.map(({ node }) => node),
    unread: sockets.pods.flatMap(({ error, namespace: of, pod }) => (error === "" ? [] : [`${of}/${pod}`])),
    rehearsal: rehearseStrict ?? "",
    window,
    now: Date.now(),
  });
  return { rows, summary, outcome: traffic.outcome };
}
