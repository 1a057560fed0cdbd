/**
 * The node agent, put together: capture brings the pods' connections, the driver answers the engine's questions from the state of
 * the mesh, the store keeps the pods' certificates, enrolment keeps the captured pods equal to the wanted ones, and telemetry tells
 * of all of it. This is the one place that makes the parts and knows in which order they start and stop.
 *
 * Start: the ports an operator looks at, capture, the state of the mesh, certificates, then pods. Stop is the other way round, and
 * what was steered stays steered: while no agent runs, connections are refused instead of leaving in clear.
 */
import { closeSync } from "node:fs";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { Capture, CaptureEvent } from "../capture/capture.ts";
import {
  type CertificateAuthority,
  CertificateStore,
  certificateStoreDefaults,
} from "../identity/certificate-store.ts";
import { abortable } from "../lib/abort.ts";
import { systemClock } from "../lib/clock.ts";
import { formatHostPort } from "../lib/host-port.ts";
import { HttpServer, type Routes } from "../lib/http-server.ts";
import { Slots } from "../lib/slots.ts";
import { Turns } from "../lib/turns.ts";
import type { MeshView } from "../model/mesh.ts";
import { AccessLog } from "../telemetry/access-log.ts";
import type { LineSink } from "../telemetry/line-sink.ts";
import { Metrics } from "../telemetry/metrics.ts";
import type { ScopedLog } from "../telemetry/scoped-log.ts";
import type { Driver } from "../tunnel/driver.ts";
import type { EngineLimits } from "../tunnel/engine.ts";
import { adminRoutes, readinessRoutes } from "./admin.ts";
import type { AgentParts, CniDoor, PodHandover, RunningExport } from "./agent-parts.ts";
import { Admission } from "./cni/admission.ts";
import type { NodeConfig } from "./config.ts";
import { Credentials } from "./credentials.ts";
import { Enrolment } from "./enrolment.ts";
import { inspectionAnswers } from "./inspection/answers.ts";
import { KubeletExemption } from "./kubelet-exemption.ts";
import { Readiness } from "./readiness.ts";
import {
  adminSources,
  logDrain,
  type MeshProblem,
  metricsAnswer,
  metricsSources,
  requestTelemetry,
  tunnelTelemetry,
} from "./reporting.ts";
import type { Succession } from "./succession.ts";
import { TrafficWatch } from "./traffic-watch.ts";

export interface AgentDeps {
  readonly parts: AgentParts;
  readonly log: ScopedLog;
  /** Of the agent's log and of the access log; the same when both go to one place. */
  readonly logSink: LineSink;
  readonly accessSink: LineSink;
}

export interface AgentOptions {
  readonly config: NodeConfig;
  readonly version: string;
}

/** Policies told apart in metric labels; clusters have dozens, and a label value costs memory in every scraper. */
const policyLabels = 200;
const lostWarningEveryMs = 10_000;
const kubeletLookEveryMs = 5000;
/** Looking for what is left of pods that are gone costs more than a probe, and finds something more seldom. */
const collectEveryVerifies = 10;

export class Agent {
  readonly #config: NodeConfig;
  readonly #version: string;
  readonly #deps: AgentDeps;
  readonly #log: ScopedLog;
  readonly #readiness: Readiness;
  readonly #turns = { certificates: new Turns(), pods: new Turns() };
  readonly #metrics: Metrics;
  readonly #accessLog: AccessLog;
  #export: RunningExport | undefined;
  readonly #store: CertificateStore;
  readonly #servers: readonly HttpServer[];
  readonly #release: Readonly<Record<"capture" | "mesh-state" | "pods", () => void>>;
  readonly #unsubscribe: (() => void)[] = [];
  #capture: Capture | undefined;
  #kubelet: KubeletExemption | undefined;
  #driver: Driver | undefined;
  #credentials: Credentials | undefined;
  #enrolment: Enrolment | undefined;
  #cni: CniDoor | undefined;
  #handover: PodHandover | undefined;
  #succession: Succession | undefined;
  readonly #traffic: TrafficWatch;
  readonly #inspection: { start(): void; stop(): Promise<void> };
  #engineKind = "";
  #limits: EngineLimits | undefined;
  readonly #startedAt = systemClock.now();
  #meshChangedAt = systemClock.now();
  #problems: ReadonlySet<string> = new Set();
  #lostWarnedAt = -lostWarningEveryMs;
  #stopped: Promise<void> | undefined;

  constructor(deps: AgentDeps, { config, version }: AgentOptions) {
    this.#config = config;
    this.#version = version;
    this.#deps = deps;
    this.#log = deps.log;
    this.#readiness = new Readiness({ now: () => performance.now(), log: deps.log.scope("readiness") });
    this.#release = {
      capture: this.#readiness.block("capture"),
      "mesh-state": this.#readiness.block("mesh-state"),
      pods: this.#readiness.block("pods"),
    };
    this.#metrics = new Metrics(systemClock, {
      version,
      policies: policyLabels,
      series: config.metricsLimits.series,
      seriesIdleMs: config.metricsLimits.seriesIdle,
    });
    this.#accessLog = new AccessLog(
      {
        sink: deps.accessSink,
        exported: { accessEnded: (entry) => this.#export?.accessEnded(entry) },
        now: () => systemClock.now(),
        random: Math.random,
      },
      { ...config.accessLog, namespaces: new Map(config.accessLog.namespaces), format: config.log.format },
    );
    this.#store = new CertificateStore(
      {
        authority: this.#countedAuthority(),
        clock: systemClock,
        random: Math.random,
        log: deps.log.scope("certificates"),
      },
      {
        ...certificateStoreDefaults,
        lifetimeMs: config.certificates.lifetime,
        concurrency: config.certificates.concurrency,
      },
    );
    const page = metricsAnswer(this.#metrics);
    const metrics: Routes = { "GET /metrics": page, "GET /stats/prometheus": page };
    const admin = adminSources(
      { config, version, source: deps.parts.source, store: this.#store, readiness: this.#readiness, log: deps.log },
      () => ({ capture: this.#capture, driver: this.#driver, enrolment: this.#enrolment, limits: this.#limits }),
    );
    this.#traffic = new TrafficWatch({
      now: () => systemClock.now(),
      view: () => deps.parts.source.view,
      driver: () => this.#driver,
      podSockets: deps.parts.podSockets,
    });
    this.#inspection = deps.parts.inspection({
      log: deps.log.scope("inspection"),
      hello: () => ({
        version,
        node: config.node,
        startedAt: timestampFromMs(this.#startedAt),
        engine: this.#engineKind,
      }),
      answers: {
        ...inspectionAnswers({
          ...admin,
          startedAt: this.#startedAt,
          now: () => systemClock.now(),
          meshChangedAt: () => this.#meshChangedAt,
          meshSource: config.manifests === undefined ? "control" : "folder",
          engineKind: () => this.#engineKind,
          kernel: () => this.#capture?.support,
          counters: () => ({ engine: { ...this.#driver?.engineStats() }, capture: this.#capture?.stats() ?? {} }),
          driver: () => this.#driver,
          logLevel: () => deps.log.level,
          log: { scoped: deps.log, configured: config.log.level },
        }),
        ...this.#traffic.answers,
      },
    });
    this.#servers = [
      new HttpServer(readinessRoutes(admin), { name: "readiness", listen: config.readiness, loopbackOnly: false }),
      new HttpServer(metrics, { name: "metrics", listen: config.metrics, loopbackOnly: false }),
      new HttpServer(adminRoutes(admin), { name: "admin", listen: config.admin, loopbackOnly: true }),
    ];
  }

  get ready(): boolean {
    return this.#readiness.ready;
  }

  /** Resolves when every part runs and each wanted pod has been tried once; the addresses are those that were bound. */
  async start(signal: AbortSignal): Promise<readonly string[]> {
    const { parts } = this.#deps;
    const bound: string[] = [];
    for (const server of this.#servers) {
      const { host, port } = await server.start();
      const address = formatHostPort(host, port);
      this.#log.root.info({ name: server.name, address }, "listening");
      bound.push(address);
    }
    this.#inspection.start();

    this.#export = await parts.otlp?.({
      log: this.#log.scope("otlp"),
      version: this.#version,
      page: () => this.#metrics.pieces("classic"),
    });

    const capture = await parts.openCapture();
    this.#capture = capture;
    this.#unsubscribe.push(capture.onEvent((event) => this.#captureEvent(event)));
    const kubelet = new KubeletExemption(
      {
        find: () => parts.findKubelet(capture),
        exempt: (cgroup) => capture.exempt(cgroup, "kubelet"),
        log: this.#log.scope("capture"),
      },
      { every: kubeletLookEveryMs },
    );
    this.#kubelet = kubelet;
    await kubelet.start();
    this.#release.capture();

    await this.#followMesh(signal);
    const told = {
      metrics: this.#metrics,
      accessLog: this.#accessLog,
      traffic: this.#traffic,
      spans: this.#export,
      log: this.#log.scope("tunnel"),
    };
    const engine = await parts.engine(capture, (message) => this.#log.root.warn(message));
    const driver = parts.driver(
      {
        engine: engine.create,
        mesh: parts.source,
        telemetry: tunnelTelemetry(told),
        requests: await parts.requests(capture, requestTelemetry(told)),
      },
      { unknownSourceHold: this.#config.timeouts.unknownSource },
    );
    this.#driver = driver;
    this.#engineKind = engine.kind;
    this.#limits = engine.limits;
    const credentials = new Credentials({
      store: this.#store,
      driver,
      settings: () => parts.source.view.settings,
      renewed: () => this.#metrics.certificateRenewed("ok"),
      log: this.#log.scope("certificates"),
    });
    this.#credentials = credentials;
    this.#handover = parts.handover?.();
    const enrolment = this.#makeEnrolment(capture, driver, credentials);
    this.#enrolment = enrolment;
    this.#metrics.start(
      metricsSources({
        engineKind: engine.kind,
        capture,
        driver,
        enrolment,
        store: this.#store,
        readiness: this.#readiness,
        sinks: { agent: this.#deps.logSink, access: this.#deps.accessSink },
        otlp: () => this.#export?.stats(),
        mesh: () => ({ epoch: parts.source.view.epoch, changedAt: this.#meshChangedAt }),
      }),
    );
    driver.start();
    credentials.start();
    // After the driver, which has flows to cut: a new list is put into each credential one by one.
    this.#unsubscribe.push(
      parts.source.onChange((change) => {
        if (change.settings) credentials.settingsChanged();
      }),
    );
    this.#succession = parts.succession?.(this.#log.scope("succession"));
    await this.#succession?.begin({
      stepBack: () => this.#stepBack(),
      stepForward: () => this.#stepForward(capture, driver, credentials),
    });
    const enrolled = enrolment.start();
    await this.#openCni(enrolment);
    await enrolled;
    const handed = this.#handover?.start({ enrolment, log: this.#log.scope("zds") });
    if (handed !== undefined) await abortable(handed, signal);
    this.#release.pods();
    this.#log.root.info({ bound: bound.join(" "), node: this.#config.node, engine: engine.kind }, "running");
    parts.trimMemory();
    return bound;
  }

  /**
   * Lets open connections end, at most until the drain deadline, then stops everything. Safe after a failed start and when called
   * twice: the second call waits for the first.
   */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    const { parts } = this.#deps;
    const { drain } = this.#config;
    this.#readiness.block("draining");
    await this.#succession?.stop();
    // What a newer agent has captured is not this one's to release.
    const acting = this.#succession?.acting !== false;
    const releaseOnExit = this.#config.releaseOnExit && acting;
    // A mesh that has nobody left is on its way out: a plugin that stayed would hold up every new pod of the node.
    const unplug = releaseOnExit || (acting && !hasMembers(parts.source.view));
    // What makes new things goes first: a pod that is enrolled during the drain would be cut by it.
    const steps: readonly (readonly [string, () => unknown])[] = [
      ["the CNI plugin", () => (unplug ? this.#cni?.installer?.uninstall() : this.#cni?.installer?.stop())],
      ["the CNI plugin's socket", () => this.#cni?.server.stop()],
      ["the CNI agent's connection", () => this.#handover?.stop()],
      ["enrolment", () => this.#enrolment?.stop({ release: releaseOnExit, deadlineMs: drain.deadline })],
      ["open connections", () => this.#drain(drain.deadline)],
      ["subscriptions", () => this.#unsubscribeAll()],
      ["the metrics' export", () => this.#export?.stopMetrics()],
      ["metrics", () => this.#metrics.stop()],
      ["credentials", () => this.#credentials?.stop()],
      ["certificates", () => this.#store.stop()],
      ["the authority's client", () => parts.authority.stop()],
      ["the driver", () => this.#driver?.stop()],
      ["the export", () => this.#export?.stop()],
      ["mesh state", () => parts.source.stop()],
      ["kubelet", () => this.#kubelet?.stop()],
      ["capture", () => this.#capture?.close()],
      ["handed pods", () => this.#handover?.close()],
      ["taps", () => this.#traffic.stop()],
      ["inspection", () => this.#inspection.stop()],
      ...this.#servers.toReversed().map((server) => [server.name, () => server.stop()] as const),
    ];
    for (const [what, stop] of steps) {
      try {
        await stop();
      } catch (error) {
        this.#log.root.error({ error }, `${what} did not stop as it should`);
      }
    }
    this.#log.root.info("stopped");
  }

  /** A newer agent captures from here on. What is open here goes on, under policy as before. */
  async #stepBack(): Promise<void> {
    await this.#cni?.installer?.stop();
    await this.#cni?.server.stop();
    await this.#handover?.stop();
    await this.#enrolment?.stop({ release: false, deadlineMs: 0 });
  }

  async #stepForward(capture: Capture, driver: Driver, credentials: Credentials): Promise<void> {
    this.#handover = this.#deps.parts.handover?.();
    const enrolment = this.#makeEnrolment(capture, driver, credentials);
    this.#enrolment = enrolment;
    await enrolment.start();
    await this.#openCni(enrolment);
    const log = this.#log.scope("zds");
    this.#handover
      ?.start({ enrolment, log })
      .catch((error: unknown) => log.error({ error }, "no pods are handed over"));
  }

  #unsubscribeAll(): void {
    for (const unsubscribe of this.#unsubscribe.splice(0)) unsubscribe();
  }

  async #drain(deadlineMs: number): Promise<void> {
    if (this.#driver === undefined) return;
    const started = performance.now();
    const report = await this.#driver.drain(deadlineMs);
    this.#metrics.drainCut(report.cut.length);
    logDrain(this.#log.scope("drain"), report, performance.now() - started);
  }

  /**
   * Pods outside the mesh connect all the time: that is counted, and written only for who looks closer. A steered packet that met no
   * listener is a connection lost, and is written at most once in a while, because a broken pod loses many.
   */
  #captureEvent({ kind, pid, cookie }: CaptureEvent): void {
    this.#metrics.captureEvent(kind);
    if (kind === "no-listener") this.#enrolment?.doubt(cookie);
    const fields = { pid, cookie: String(cookie) };
    const now = performance.now();
    const loud = kind === "no-listener" && now - this.#lostWarnedAt > lostWarningEveryMs;
    if (loud) this.#lostWarnedAt = now;
    this.#log.scope("capture")[loud ? "warn" : "debug"](fields, kind);
  }

  /** Resolves when the first complete state is in force. */
  async #followMesh(signal: AbortSignal): Promise<void> {
    const { source } = this.#deps.parts;
    this.#unsubscribe.push(
      source.onChange((change) => {
        this.#meshChangedAt = systemClock.now();
        const ours = this.#handover === undefined ? change.nodes.has(this.#config.node) : change.workloads.size > 0;
        if (ours) this.#enrolment?.reconcile();
      }),
      source.onProblems((problems) => this.#tellProblems(problems)),
    );
    await source.start(signal);
    this.#release["mesh-state"]();
  }

  /** The source tells of everything that is wrong each time; the log has each problem once, until it was repaired. */
  #tellProblems(problems: readonly MeshProblem[]): void {
    const now = new Set(problems.map((problem) => JSON.stringify(problem)));
    for (const { message: problem, ...where } of problems.filter((one) => !this.#problems.has(JSON.stringify(one)))) {
      this.#log
        .scope("mesh")
        .warn({ ...where, problem }, "an object of the mesh is wrong; its last good version stays in force");
    }
    this.#problems = now;
  }

  /** The door first, the plugin's place in the chain after it: nobody is sent to a closed door. */
  async #openCni(enrolment: Enrolment): Promise<void> {
    const { parts } = this.#deps;
    const admission = new Admission(
      { mesh: parts.source, enrolment, ready: () => this.ready, metrics: this.#metrics },
      { node: this.#config.node, waitMs: this.#config.cni.wait },
    );
    this.#cni = parts.cni?.({
      answer: (request, signal) => admission.answer(request, signal),
      log: this.#log.scope("cni"),
    });
    await this.#cni?.server.start();
    await this.#cni?.installer?.start();
  }

  #makeEnrolment(capture: Capture, driver: Driver, credentials: Credentials): Enrolment {
    const { enrolment, capture: how, drain, node } = this.#config;
    const { findNetns, source } = this.#deps.parts;
    const handover = this.#handover;
    return new Enrolment(
      {
        capture,
        findNetns: async (pod, announced) => {
          // A node's pods come together when an agent starts.
          await this.#turns.pods.next();
          return handover === undefined ? findNetns(pod, announced) : handover.findNetns(pod);
        },
        tunnels: this.#traffic.watching(driver),
        certificates: credentials,
        closeDescriptor: closeSync,
        clock: systemClock,
        random: Math.random,
        slots: new Slots(enrolment.concurrency),
        log: this.#log.scope("enrolment"),
        metrics: this.#metrics,
        wantedPods: () => handover?.localPods(source.view) ?? source.view.localPods(node),
      },
      {
        backend: how.backend === "auto" ? undefined : how.backend,
        retry: { firstMs: enrolment.retry, factor: 2, longestMs: enrolment.retryMax, jitter: 0.2 },
        verifyMs: enrolment.verify,
        timeoutMs: enrolment.timeout,
        graceMs: drain.deadline,
        collectMs: collectEveryVerifies * enrolment.verify,
      },
    );
  }

  /** The authority, with its failures counted: the store only tells of certificates that came. */
  #countedAuthority(): CertificateAuthority {
    const { authority } = this.#deps.parts;
    return {
      createCertificate: async (order, signal) => {
        try {
          const issued = await authority.createCertificate(order, signal);
          // A start's come together; checking one and giving it to the engine takes a millisecond or two.
          await this.#turns.certificates.next();
          return issued;
        } catch (error) {
          this.#metrics.certificateRenewed("failed");
          throw error;
        }
      },
    };
  }
}

function hasMembers(view: MeshView): boolean {
  for (const { tunnel } of view.workloads()) if (tunnel === "hbone") return true;
  return false;
}
