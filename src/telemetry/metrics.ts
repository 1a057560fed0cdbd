/**
 * All metrics of an agent, declared once. Events (a flow or a tunnel ended, a certificate was renewed, a pod was enrolled) are
 * counted as they happen; everything that has a present state is read from its owner when a scrape asks.
 */
import { setImmediate } from "node:timers/promises";
import { Counter, Histogram, Registry } from "prom-client";
import type { FlowLabel } from "../model/flow-label.ts";
import { type Reason, reasonInfo } from "../model/reason.ts";
import type { LocalPod } from "../model/workload.ts";
import { familyHead, labelledText, labelsText, statsText } from "./exposition.ts";
import { type FlowContext, FlowMetrics, type FlowMetricsOptions } from "./flow-metrics.ts";
import { type FlowProgress, type FlowRecord, reporterOf, securityOf, type TunnelRecord } from "./flow-record.ts";
import { type ExpositionFormat, expositionEnds, openMetricsText } from "./open-metrics.ts";
import { Pace } from "./pace.ts";
import { plaintextCause } from "./plaintext.ts";
import { ProcessMetrics } from "./process-metrics.ts";
import type { RequestRecord } from "./request-record.ts";

/** Owners of present state, asked at each scrape. */
export interface MetricsSources {
  /** The engine that runs. */
  readonly engineKind: string;
  openFlows(): Iterable<FlowProgress & { readonly context: FlowContext }>;
  /** camelCase names become `warren_engine_*`, `warren_driver_*`, `warren_log_*`; those that end in Total are counters. */
  engine(): Readonly<Record<string, number>>;
  driver(): Readonly<Record<string, number>>;
  log(): Readonly<Record<string, number>>;
  /** Of the export to a collector, as `warren_otlp_*`; undefined while there is none. */
  otlp(): Readonly<Record<string, number>> | undefined;
  /** Drop and pass reasons counted in the kernel. */
  capture(): Readonly<Record<string, number>>;
  certificates(): Iterable<{ readonly identity: string; readonly expiresAt: number }>;
  pods(): Readonly<Record<string, number>>;
  /** What readiness waits for, and since when; `draining` among it once the agent is told to stop. */
  blockers(): Iterable<{ readonly name: string; readonly forMs: number }>;
  mesh(): { readonly epoch: number; readonly changedAt: number };
}

export interface MetricsDeps {
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

export interface MetricsOptions extends FlowMetricsOptions {
  readonly version: string;
  /** Most policies told apart in labels; more are counted as `other`. */
  readonly policies: number;
}

/** Bytes written before the thread rests: a piece of samples with its write to the socket, an eighth of a millisecond. */
const restAfter = 24 * 1024;

export class Metrics {
  readonly #deps: MetricsDeps;
  readonly #options: MetricsOptions;
  readonly #registry = new Registry();
  readonly #flows: FlowMetrics;
  readonly #process = new ProcessMetrics();
  /** One for all scrapes: many at once take longer, and leave as much to everything else as one does. */
  readonly #pace = new Pace();
  readonly #policies = new Set<string>();
  /** Tunnels that came up: one that goes down without having been here is a failed handshake. */
  readonly #up = new Set<number>();
  #sources: MetricsSources | undefined;

  readonly #flowsClosed = this.#counter("warren_flows_closed_total", "Connections ended, by reason.", [
    "reporter",
    "reason",
  ]);
  readonly #plaintext = this.#counter(
    "warren_plaintext_connections_total",
    "Connections in clear, by what made them so and whether they were let through.",
    ["reporter", "cause", "outcome"],
  );
  readonly #decided = this.#counter("warren_policy_decisions_total", "Connections and requests decided by a policy.", [
    "policy",
    "reason",
  ]);
  readonly #shadow = this.#counter("warren_policy_shadow_matches_total", "Matches of AUDIT and dry-run policies.", [
    "policy",
    "action",
  ]);
  readonly #requests = this.#counter(
    "warren_http_requests_total",
    "HTTP requests judged one by one, by class of the answer (none for no answer) and reason.",
    ["status", "reason"],
  );
  readonly #handshakes = this.#counter("warren_handshakes_total", "Tunnel set-ups, by result.", [
    "direction",
    "result",
  ]);
  readonly #tunnelsClosed = this.#counter("warren_tunnels_closed_total", "Tunnels closed, by reason.", [
    "direction",
    "reason",
  ]);
  readonly #established = this.#counter("warren_tunnels_established_total", "Tunnels set up, by what was negotiated.", [
    "direction",
    "version",
    "group",
    "cipher",
  ]);
  readonly #handshakeSeconds = new Histogram({
    name: "warren_handshake_duration_seconds",
    help: "From the first SYN, or accept, to HTTP/2 ready.",
    labelNames: ["direction"],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [this.#registry],
  });
  readonly #renewals = this.#counter("warren_certificate_renewals_total", "Certificates asked for, by result.", [
    "result",
  ]);
  readonly #enrolments = this.#counter("warren_enrolments_total", "Enrolment attempts, by backend and result.", [
    "backend",
    "result",
  ]);
  readonly #enrolmentSeconds = new Histogram({
    name: "warren_enrolment_duration_seconds",
    help: "From the start of the attempt that succeeded to the confirmed capture.",
    labelNames: ["backend"],
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [this.#registry],
  });
  readonly #probes = this.#counter("warren_capture_probes_total", "Self-probes through the real path, by result.", [
    "result",
  ]);
  readonly #repairs = this.#counter(
    "warren_capture_repairs_total",
    "Captured pods found otherwise than they were left, and set right, by what was wrong.",
    ["what"],
  );
  readonly #leftovers = this.#counter(
    "warren_capture_leftovers_removed_total",
    "Pods that were gone and of which something was left in the kernel.",
    [],
  );
  readonly #sandboxes = this.#counter("warren_cni_requests_total", "Questions of the CNI plugin, by result.", [
    "command",
    "result",
  ]);
  readonly #captureEvents = this.#counter("warren_capture_alerts_total", "What the kernel raised, by kind.", ["kind"]);
  readonly #internalErrors = this.#counter(
    "warren_internal_errors_total",
    "Things that must not happen and were survived.",
    [],
  );
  readonly #drainCut = this.#counter(
    "warren_drain_cut_total",
    "Connections cut because the drain deadline passed.",
    [],
  );

  constructor(deps: MetricsDeps, options: MetricsOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#flows = new FlowMetrics(deps, options);
  }

  start(sources: MetricsSources): void {
    this.#sources = sources;
    this.#process.start();
  }

  stop(): void {
    this.#sources = undefined;
    this.#process.stop();
  }

  flowClosed(record: FlowRecord, label: FlowLabel, pod: LocalPod | undefined): void {
    this.#flows.flowClosed(record, { label, pod });
    const reporter = reporterOf(record.role);
    this.#flowsClosed.inc({ reporter, reason: record.reason });
    const { status } = reasonInfo(record.reason);
    if (securityOf(record, label) === "none") {
      const outcome = status === 200 ? "passed" : "refused";
      this.#plaintext.inc({ reporter, cause: plaintextCause(record.role, label), outcome });
    }
    if (label.policy !== "") this.#decided.inc({ policy: this.#policy(label.policy), reason: record.reason });
    for (const { policy, action } of label.shadow) this.#shadow.inc({ policy: this.#policy(policy), action });
  }

  requestEnded({ status, reason, policy, shadow }: RequestRecord): void {
    this.#requests.inc({ status: status === 0 ? "none" : `${Math.floor(status / 100)}xx`, reason });
    if (policy !== "") this.#decided.inc({ policy: this.#policy(policy), reason });
    for (const match of shadow) this.#shadow.inc({ policy: this.#policy(match.policy), action: match.action });
  }

  tunnelUp(info: TunnelRecord): void {
    const { direction, tls } = info;
    this.#up.add(info.tunnel);
    this.#handshakes.inc({ direction, result: "ok" });
    this.#handshakeSeconds.observe({ direction }, info.setupMs / 1000);
    this.#established.inc({ direction, version: tls.version, group: tls.group, cipher: tls.cipher });
  }

  tunnelDown(info: TunnelRecord & { readonly reason: Reason }): void {
    const { direction, reason } = info;
    if (this.#up.delete(info.tunnel)) this.#tunnelsClosed.inc({ direction, reason });
    else this.#handshakes.inc({ direction, result: reason });
  }

  certificateRenewed(result: "ok" | "failed"): void {
    this.#renewals.inc({ result });
  }

  enrolled(backend: string, seconds: number): void {
    this.#enrolments.inc({ backend, result: "ok" });
    this.#enrolmentSeconds.observe({ backend }, seconds);
  }

  enrolmentFailed(code: string): void {
    this.#enrolments.inc({ backend: "none", result: code });
  }

  probed(result: "ok" | "failed"): void {
    this.#probes.inc({ result });
  }

  repaired(what: string): void {
    this.#repairs.inc({ what });
  }

  leftoversRemoved(count: number): void {
    this.#leftovers.inc(count);
  }

  sandboxAsked(command: string, result: string): void {
    this.#sandboxes.inc({ command, result });
  }

  captureEvent(kind: string): void {
    this.#captureEvents.inc({ kind });
  }

  internalError(): void {
    this.#internalErrors.inc();
  }

  drainCut(connections: number): void {
    this.#drainCut.inc(connections);
  }

  /**
   * Everything, in pieces of whole lines. The event loop turns between the pieces: what each costs is bounded by a number of samples,
   * so that a scrape of thousands of series holds up no connection. A thread that never rests is also one that the kernel makes wait for
   * others, and with it the connections that it decides: hence the pauses.
   */
  async *pieces(format: ExpositionFormat): AsyncGenerator<string | Buffer, void, void> {
    let written = 0;
    for await (const piece of this.#classic()) {
      if (piece.length === 0) continue;
      yield format === "classic" || typeof piece !== "string" ? piece : openMetricsText(piece);
      written += piece.length;
      if (written < restAfter) await setImmediate();
      else {
        await this.#pace.rest();
        written = 0;
      }
    }
    if (expositionEnds[format] !== "") yield expositionEnds[format];
  }

  async *#classic(): AsyncGenerator<string | Buffer, void, void> {
    const sources = this.#sources;
    if (sources !== undefined) {
      for (const _ of this.#flows.countOpen(sources.openFlows())) await this.#pace.rest();
    }
    const { version } = this.#options;
    const build = labelsText([
      ["version", version],
      ["engine", sources?.engineKind ?? ""],
      ["node", process.versions.node],
      ["openssl", process.versions.openssl],
    ]);
    yield `${familyHead("warren_build_info", "What runs here.", "gauge")}warren_build_info{${build}} 1\n`;
    yield `${familyHead("istio_build", "What runs here, for Istio's dashboards.", "gauge")}istio_build{component="warren",tag="${version}"} 1\n`;
    yield* this.#flows.pieces();
    yield statsText("warren_metric", "Label sets of the istio_tcp families", this.#flows.stats());
    if (sources !== undefined) yield this.#present(sources);
    yield await this.#process.text();
    for (const { name } of this.#registry.getMetricsAsArray()) {
      yield `${await this.#registry.getSingleMetricAsString(name)}\n`;
    }
  }

  #present(sources: MetricsSources): string {
    const now = this.#deps.now();
    const mesh = sources.mesh();
    const certificates = Array.from(sources.certificates(), ({ identity, expiresAt }): [string, number] => [
      identity,
      (expiresAt - now) / 1000,
    ]);
    return [
      statsText("warren_engine", "Engine", sources.engine()),
      statsText("warren_driver", "Driver", sources.driver()),
      statsText("warren_log", "Log", sources.log()),
      statsText("warren_otlp", "Export by OTLP", sources.otlp() ?? {}),
      statsText("warren_mesh", "State of the mesh", { epoch: mesh.epoch, ageSeconds: (now - mesh.changedAt) / 1000 }),
      labelledText(
        "warren_capture_total",
        "Counted by the redirection programs.",
        "counter",
        "counter",
        Object.entries(sources.capture()),
      ),
      labelledText(
        "warren_pods",
        "Pods of this node, by state of enrolment.",
        "gauge",
        "state",
        Object.entries(sources.pods()),
      ),
      labelledText(
        "warren_not_ready_seconds",
        "For how long the agent has not been ready, by what it waits for; draining once it was told to stop.",
        "gauge",
        "waiting_for",
        Array.from(sources.blockers(), ({ name, forMs }): [string, number] => [name, forMs / 1000]),
      ),
      labelledText(
        "warren_certificate_expiry_seconds",
        "Seconds until the certificate ends.",
        "gauge",
        "identity",
        certificates,
      ),
    ].join("");
  }

  #counter<Name extends string>(name: string, help: string, labelNames: readonly Name[]): Counter<Name> {
    return new Counter({ name, help, labelNames: [...labelNames], registers: [this.#registry] });
  }

  #policy(name: string): string {
    if (this.#policies.has(name)) return name;
    if (this.#policies.size >= this.#options.policies) return "other";
    this.#policies.add(name);
    return name;
  }
}
