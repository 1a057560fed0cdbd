/** What the control plane shows the kubelet, Prometheus and a person: readiness with the names of what is missing, metrics, clients. No secrets. */
import type { Registry } from "prom-client";
import { json, type Routes, text } from "../lib/http-server.ts";
import { expositionFormat, expositionText, expositionTypes } from "../telemetry/open-metrics.ts";

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
    "GET /metrics": async (_url, { accept }) => {
      const format = expositionFormat(accept);
      return { status: 200, type: expositionTypes[format], body: expositionText(await registry.metrics(), format) };
    },
    "GET /discovery": () => json(discoveryClients()),
    "GET /discovery/untold": () => json(discoveryUntold()),
    "GET /platform": () => json(platform()),
  };
}
