/**
 * Endpoints near the client, where a Service wants them: traffic distribution, topology hints and `internalTrafficPolicy: Local`, in
 * the words of Istio's protocol (scopes that are compared in order).
 */
import type { TrafficPreference, TrafficScope } from "../model/service.ts";
import type { Workload } from "../model/workload.ts";

/** What a choice depends on. */
export type RoutingClient = Pick<Workload, "uid" | "node" | "locality">;

export interface Located {
  /** Undefined for endpoints that are no pods: nobody knows where they are, so they agree in nothing. */
  readonly workload: Workload | undefined;
}

export function preferred<T extends Located>(
  endpoints: readonly T[],
  client: RoutingClient,
  traffic: TrafficPreference | undefined,
): readonly T[] {
  if (traffic === undefined || endpoints.length === 0) return endpoints;
  const { scopes, mode } = traffic;
  const ranks = endpoints.map(({ workload }) => rank(workload, client, scopes));
  // Endpoints share what a decision is worth, so the best rank takes all; a rank that becomes empty leaves the next one.
  const least = mode === "strict" ? scopes.length : Math.max(...ranks);
  return endpoints.filter((_endpoint, index) => (ranks[index] ?? 0) >= least);
}

/** How many of the leading scopes agree. */
function rank(workload: Workload | undefined, client: RoutingClient, scopes: readonly TrafficScope[]): number {
  if (workload === undefined) return 0;
  const differs = scopes.findIndex((scope) => !agree(workload, client, scope));
  return differs === -1 ? scopes.length : differs;
}

function agree(workload: Workload, client: RoutingClient, scope: TrafficScope): boolean {
  switch (scope) {
    case "region":
      return (workload.locality?.region ?? "") === (client.locality?.region ?? "");
    case "zone":
      return (workload.locality?.zone ?? "") === (client.locality?.zone ?? "");
    case "node":
      return workload.node !== "" && workload.node === client.node;
  }
}
