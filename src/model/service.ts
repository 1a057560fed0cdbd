import type { WorkloadUid } from "./workload.ts";

export interface ServicePort {
  readonly name: string;
  readonly port: number;
  readonly appProtocol: string;
}

export interface Service {
  readonly name: string;
  readonly namespace: string;
  /** `name.namespace.svc.<cluster domain>`: with the namespace the key of the service. */
  readonly hostname: string;
  /** Virtual IPs; empty for headless. */
  readonly addresses: readonly string[];
  readonly ports: readonly ServicePort[];
  /** Which endpoints a client takes; absent: all alike. */
  readonly traffic?: TrafficPreference;
}

export type TrafficScope = "region" | "zone" | "node";

/** Compared with the client in this order: an endpoint ranks higher the more leading scopes agree. */
export interface TrafficPreference {
  readonly scopes: readonly TrafficScope[];
  /** `strict`: only endpoints that agree in all of them. `failover`: the best rank that has endpoints. */
  readonly mode: "strict" | "failover";
}

/** One ready way to reach a service port. */
export interface ServiceEndpoint {
  /** Undefined for endpoints that are not pods of the mesh (manual EndpointSlices). */
  readonly workload: WorkloadUid | undefined;
  readonly address: string;
  readonly targetPort: number;
  readonly weight: number;
}
