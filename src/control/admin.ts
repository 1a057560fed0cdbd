/** What the control plane shows the kubelet, Prometheus and a person: readiness with the names of what is missing, metrics, clients. No secrets. */
import type { Registry } from "prom-client";
import { json, metricsPage, type Routes, text } from "../lib/http-server.ts";

export interface AdminSources {
  readonly registry: Registry;
  /** What start still waits for; empty when ready. */
  readonly blockers: () => readonly string[];
  /** Who listens for the state of the mesh, and how it takes what it is sent. */
  readonly discoveryClients: () => readonly object[];
  /** What of the mesh they cannot be told, and why. */
  readonly discoveryUntold: () => readonly object[];
  /** What control stands on: the watches of a cluster, whether this replica leads. */
  readonly platform: () => object;
}

export function adminRoutes({ registry, blockers, discoveryClients, discoveryUntold, platform }: AdminSources): Routes {
  return {
    "GET /healthz/ready": () => {
      const left = blockers();
      return left.length === 0 ? text(200, "ready\n") : text(503, `waiting for ${left.join(", ")}\n`);
    },
    "GET /metrics": async () => metricsPage(await registry.metrics()),
    "GET /discovery": () => json(discoveryClients()),
    "GET /discovery/untold": () => json(discoveryUntold()),
    "GET /platform": () => json(platform()),
  };
}
