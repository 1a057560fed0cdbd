/** Metrics of the control plane, each with its help text and bounded labels. */
import { Counter, Gauge, Histogram, Registry } from "prom-client";

/** How a certificate request ended. */
export const certificateOutcomes = ["issued", "unauthenticated", "denied", "invalid", "overloaded", "failed"] as const;
export type CertificateOutcome = (typeof certificateOutcomes)[number];

export interface ControlMetrics {
  readonly registry: Registry;
  certificateRequest(outcome: CertificateOutcome, seconds: number): void;
  discoveryResponse(): void;
  discoveryRejected(): void;
}

/** Unix times in milliseconds. */
export interface ExpirySource {
  readonly root: number;
  readonly intermediate: number;
  readonly serving: number;
}

export function createControlMetrics(
  expiry: () => ExpirySource | undefined,
  inFlight: () => number,
  discovery: () => { readonly clients: number; readonly untold: number },
): ControlMetrics {
  const registry = new Registry();
  const requests = new Counter({
    name: "warren_ca_requests_total",
    help: "Certificate requests by outcome.",
    labelNames: ["outcome"],
    registers: [registry],
  });
  // Alerts on a rate need the series before the first event.
  for (const outcome of certificateOutcomes) requests.inc({ outcome }, 0);
  const duration = new Histogram({
    name: "warren_ca_request_duration_seconds",
    help: "Time to answer a certificate request, refusals included.",
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1],
    registers: [registry],
  });
  const flying = new Gauge({
    name: "warren_ca_requests_in_flight",
    help: "Certificate requests being answered now.",
    registers: [],
    collect() {
      this.set(inFlight());
    },
  });
  const ends = new Gauge({
    name: "warren_ca_expiry_timestamp_seconds",
    help: "When a certificate of the authority ends, Unix time: its root, its intermediate, its own serving certificate.",
    labelNames: ["certificate"],
    registers: [],
    collect() {
      for (const [certificate, at] of Object.entries(expiry() ?? {})) this.set({ certificate }, Math.floor(at / 1000));
    },
  });
  const clients = new Gauge({
    name: "warren_discovery_clients",
    help: "Agents and others that listen for the state of the mesh now.",
    registers: [],
    collect() {
      this.set(discovery().clients);
    },
  });
  const untold = new Gauge({
    name: "warren_discovery_untold_resources",
    help: "Workloads, Services, policies and other resources that cannot be encoded, so that clients have their last good version.",
    registers: [],
    collect() {
      this.set(discovery().untold);
    },
  });
  const responses = new Counter({
    name: "warren_discovery_responses_total",
    help: "Responses sent to discovery clients.",
    registers: [registry],
  });
  const rejected = new Counter({
    name: "warren_discovery_rejected_total",
    help: "Responses of which a discovery client rejected some resource.",
    registers: [registry],
  });
  registry.registerMetric(clients);
  registry.registerMetric(untold);
  registry.registerMetric(flying);
  registry.registerMetric(ends);
  return {
    registry,
    certificateRequest(outcome, seconds) {
      requests.inc({ outcome });
      duration.observe(seconds);
    },
    discoveryResponse: () => responses.inc(),
    discoveryRejected: () => rejected.inc(),
  };
}
