import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Capture, CaptureEvent } from "../../src/capture/capture.ts";
import { loadConfig } from "../../src/lib/config.ts";
import { MeshError } from "../../src/lib/errors.ts";
import { type MeshChange, type MeshView, noAuthoritySettings } from "../../src/model/mesh.ts";
import type { LocalPod, Workload } from "../../src/model/workload.ts";
import { Agent } from "../../src/node/agent.ts";
import type { AgentParts } from "../../src/node/agent-parts.ts";
import { nodeConfigSchema } from "../../src/node/config.ts";
import { ScopedLog } from "../../src/telemetry/scoped-log.ts";
import type { Driver, DriverDeps } from "../../src/tunnel/driver.ts";
import type { DrainReport, EngineLimits, FlowRow, PodHandle } from "../../src/tunnel/engine.ts";
import { label, record } from "../telemetry/fixtures.ts";
import { pod } from "./fakes.ts";

const loopback = ["--admin=127.0.0.1:0", "--metrics=127.0.0.1:0", "--readiness=127.0.0.1:0"];
const required = [
  "--node=n1",
  "--manifests=m",
  "--control-address=c:1",
  "--control-root-certificate=r",
  "--control-token-file=t",
  "--enrolment-retry=10ms",
  "--drain-deadline=1s",
];

interface LogLine {
  readonly message: string;
  readonly name?: string;
  readonly address?: string;
}

/** An agent whose parts are in memory and write down what they were asked. */
class FakeAgent {
  readonly journal: string[] = [];
  readonly lines: LogLine[] = [];
  readonly accessLines: string[] = [];
  readonly exported: unknown[] = [];
  exportStopped = false;
  spans = 0;
  readonly captureListeners = new Set<(event: CaptureEvent) => void>();
  readonly meshListeners = new Set<(change: MeshChange) => void>();
  readonly problemListeners = new Set<(all: readonly { message: string }[]) => void>();
  wanted: LocalPod[] = [];
  members: Pick<Workload, "tunnel">[] = [];
  /** What became of the CNI plugin. */
  plugin = "";
  telemetry: DriverDeps["telemetry"] | undefined;
  sourceStart: () => Promise<void> = async () => undefined;
  openCapture: () => Promise<void> = async () => undefined;
  report: DrainReport = { drained: 0, cut: [] };
  duringDrain: () => Promise<unknown> = async () => undefined;
  agent: Agent | undefined;

  async make(...flags: string[]): Promise<Agent> {
    const { value: config } = await loadConfig(nodeConfigSchema, {
      args: [...required, ...loopback, ...flags],
      environment: {},
    });
    const sink = {
      write: (line: string) => void this.lines.push(JSON.parse(line) as LogLine),
      dropped: 0,
      close: async () => undefined,
    };
    const accessSink = { ...sink, write: (line: string) => void this.accessLines.push(line) };
    const log = new ScopedLog(pino({ level: "info", base: null, messageKey: "message" }, sink));
    this.agent = new Agent({ parts: this.#parts(), log, logSink: sink, accessSink }, { config, version: "1.2.3" });
    return this.agent;
  }

  change(...nodes: string[]): void {
    for (const listener of this.meshListeners)
      listener({ nodes: new Set(nodes), settings: false } as unknown as MeshChange);
  }

  #note(what: string): void {
    this.journal.push(what);
  }

  #parts(): AgentParts {
    const capture: Partial<Capture> = {
      support: { release: "test" } as Capture["support"],
      enrol: async ({ uid, addresses }) => {
        this.#note(`enrol ${uid}`);
        const netns = { fd: 3, dev: 1n, ino: 2n, cookie: 3n };
        return {
          uid,
          addresses,
          backend: "ebpf",
          netns,
          listeners: [],
          originalDestination: { kind: "conntrack" },
          marks: { leave: 1, deliver: 2 },
        };
      },
      probe: async () => undefined,
      release: async (uid) => this.#note(`release ${uid}`),
      collectGarbage: async () => [],
      stats: () => ({ redirected: 1 }),
      onEvent: (listener) => {
        this.captureListeners.add(listener);
        return () => this.captureListeners.delete(listener);
      },
      close: async () => this.#note("capture closed"),
    };
    const view = {
      epoch: 5,
      settings: { trustDomain: "cluster.local", trustDomainAliases: [], deniedIdentities: [], ...noAuthoritySettings },
      localPods: () => this.wanted,
      workloads: () => this.members,
      services: () => [],
      authorizationPolicies: () => [],
      peerAuthentications: () => [],
    } as unknown as MeshView;
    return {
      openCapture: async () => {
        await this.openCapture();
        this.#note("capture opened");
        return capture as Capture;
      },
      cni: () => ({
        server: { start: async () => undefined, stop: async () => undefined },
        installer: {
          start: async () => undefined,
          stop: async () => {
            this.plugin = "left";
          },
          uninstall: async () => {
            this.plugin = "removed";
          },
        },
      }),
      handover: undefined,
      findKubelet: async () => undefined,
      findNetns: async () => ({ path: "/x", dev: 1n, ino: 2n, stillHeld: async () => true, close: () => undefined }),
      source: {
        view,
        onChange: (listener) => {
          this.meshListeners.add(listener);
          return () => this.meshListeners.delete(listener);
        },
        onProblems: (listener) => {
          this.problemListeners.add(listener);
          return () => this.problemListeners.delete(listener);
        },
        problems: () => [],
        start: async () => {
          await this.sourceStart();
          this.#note("mesh started");
        },
        stop: async () => this.#note("mesh stopped"),
      },
      engine: async () => ({
        kind: "typescript",
        limits: { flowsPerPod: 20_000 } as unknown as EngineLimits,
        create: () => {
          throw new Error("this driver makes no engine");
        },
      }),
      requests: async () => () => ({ enforce: () => undefined, rejudge: () => undefined, drain: () => undefined }),
      otlp: async () => ({
        accessEnded: (entry) => this.exported.push(entry),
        flowClosed: () => void this.spans++,
        stats: () => ({ logsExportedTotal: this.exported.length }),
        stopMetrics: async () => undefined,
        stop: async () => {
          this.exportStopped = true;
        },
      }),
      podSockets: () => ({ list: async () => ({ uncarried: [], listening: [] }), cut: async () => 0 }),
      inspection: () => ({ start: () => undefined, stop: async () => undefined }),
      driver: ({ telemetry }) => {
        this.telemetry = telemetry;
        return this.#driver();
      },
      authority: {
        createCertificate: async () => {
          throw new MeshError("MESH_CA_UNREACHABLE", "no control plane");
        },
        stop: () => this.#note("authority stopped"),
      },
      trimMemory: () => undefined,
    };
  }

  #driver(): Driver {
    return {
      start: () => this.#note("driver started"),
      addPod: (local) => this.#note(`add ${local.uid}`),
      updatePod: () => undefined,
      removePod: async (uid) => this.#note(`remove ${uid}`),
      pods: () => [],
      setCredential: () => undefined,
      forgetCredential: () => undefined,
      reviseCredential: () => false,
      flows: () => [],
      openFlows: () => [],
      tunnels: () => [],
      podShares: () => {
        const load = { pod: 7 as PodHandle, flows: 3, inboundTunnels: 1, outboundTunnels: 2, bufferedBytes: 4096 };
        return [{ ...load, localPod: pod("a") }];
      },
      closeFlows: () => undefined,
      closeTunnels: () => undefined,
      engineStats: () => ({ flowsOpen: 2 }) as unknown as ReturnType<Driver["engineStats"]>,
      stats: () => ({ pods: 1 }) as unknown as ReturnType<Driver["stats"]>,
      settled: async () => undefined,
      drain: async (deadlineMs) => {
        this.#note(`drain ${deadlineMs}`);
        await this.duringDrain();
        return this.report;
      },
      stop: async () => this.#note("driver stopped"),
    };
  }
}

const never = new AbortController().signal;

describe("the node agent", () => {
  let fake: FakeAgent;
  beforeEach(() => {
    fake = new FakeAgent();
  });
  afterEach(() => fake.agent?.stop());

  it("starts capture, mesh, driver and pods in that order, and is ready then", async () => {
    fake.wanted = [pod("a")];
    const agent = await fake.make();
    expect(agent.ready).toBe(false);
    const [readiness = "", metrics = "", admin = ""] = await agent.start(never);
    expect(fake.journal).toEqual(["capture opened", "mesh started", "driver started", "enrol uid-a", "add uid-a"]);
    expect(agent.ready).toBe(true);
    expect((await fetch(`http://${readiness}/healthz/ready`)).status).toBe(200);
    expect(await (await fetch(`http://${admin}/config_dump`)).json()).toMatchObject({
      epoch: 5,
      pods: [{ uid: "uid-a", state: "captured" }],
      config: { node: "n1" },
    });
    expect(await (await fetch(`http://${admin}/stats`)).json()).toMatchObject({
      limits: { flowsPerPod: 20_000 },
      pods: [{ pod: "production/a", flows: 3, inboundTunnels: 1, outboundTunnels: 2, bufferedBytes: 4096 }],
    });
    const text = await (await fetch(`http://${metrics}/metrics`)).text();
    for (const line of [
      'warren_pods{state="captured"} 1',
      "warren_engine_flows_open 2",
      'warren_capture_total{counter="redirected"} 1',
    ]) {
      expect(text).toContain(`${line}\n`);
    }
    // The authority goes on failing: on a slow machine it has been asked again by the time that somebody looks.
    await expect
      .poll(async () => (await fetch(`http://${metrics}/metrics`)).text())
      .toMatch(/^warren_certificate_renewals_total\{result="failed"\} [1-9]/m);
    expect(fake.lines).toContainEqual(
      expect.objectContaining({ message: "running", bound: `${readiness} ${metrics} ${admin}` }),
    );
  });

  it("says over HTTP what it waits for while it starts", async () => {
    const gate = Promise.withResolvers<void>();
    fake.sourceStart = () => gate.promise;
    const agent = await fake.make();
    const started = agent.start(never);
    await expect.poll(() => fake.journal).toContain("capture opened");
    const bound = fake.lines.find((line) => line.message === "listening" && line.name === "readiness");
    const response = await fetch(`http://${bound?.address}/healthz/ready`);
    expect(response.status).toBe(503);
    expect(await response.text()).toMatch(/^not ready, waiting for: mesh-state \([\d.]+s\), pods \([\d.]+s\)\n$/);
    gate.resolve();
    await started;
  });

  it("stops in the opposite order, with steering left in place, and only once", async () => {
    fake.wanted = [pod("a")];
    const agent = await fake.make();
    const [readiness = ""] = await agent.start(never);
    fake.journal.length = 0;
    await Promise.all([agent.stop(), agent.stop()]);
    expect(fake.journal).toEqual([
      "drain 1000",
      "authority stopped",
      "driver stopped",
      "mesh stopped",
      "capture closed",
    ]);
    expect(agent.ready).toBe(false);
    await expect(fetch(`http://${readiness}/healthz/ready`)).rejects.toThrow();
    expect(fake.meshListeners.size + fake.problemListeners.size + fake.captureListeners.size).toBe(0);
  });

  it("takes its pods out of the mesh before it drains, when told to release on exit", async () => {
    fake.wanted = [pod("a")];
    const agent = await fake.make("--release-on-exit");
    await agent.start(never);
    fake.journal.length = 0;
    await agent.stop();
    expect(fake.journal.slice(0, 3)).toEqual(["release uid-a", "remove uid-a", "drain 1000"]);
  });

  it("tells scrapers that it drains while it does", async () => {
    const agent = await fake.make();
    const [, metrics = ""] = await agent.start(never);
    const page = async () => (await fetch(`http://${metrics}/metrics`)).text();
    expect(await page()).not.toContain("warren_not_ready_seconds{");
    let text = "";
    fake.duringDrain = async () => (text = await page());
    await agent.stop();
    expect(text).toMatch(/^warren_not_ready_seconds\{waiting_for="draining"\} [\d.e-]+$/m);
    expect(text).toMatch(/^warren_engine_flows_open 2$/m);
  });

  it("names the connections that the drain deadline cut", async () => {
    const agent = await fake.make();
    await agent.start(never);
    fake.report = { drained: 3, cut: [record() as unknown as FlowRow] };
    await agent.stop();
    expect(fake.lines).toContainEqual(
      expect.objectContaining({ message: "connection cut", source: "10.244.1.5:38472", destination: "10.96.0.10:80" }),
    );
    expect(fake.lines).toContainEqual(expect.objectContaining({ drained: 3, cut: 1 }));
  });

  it("undoes what had been started when a part fails to start", async () => {
    fake.sourceStart = () => Promise.reject(new Error("no such folder"));
    const agent = await fake.make();
    await expect(agent.start(never)).rejects.toThrow("no such folder");
    await agent.stop();
    expect(fake.journal).toEqual(["capture opened", "authority stopped", "mesh stopped", "capture closed"]);
  });

  it("stops although one part does not stop as it should", async () => {
    const agent = await fake.make();
    await agent.start(never);
    fake.report = undefined as unknown as DrainReport;
    await agent.stop();
    expect(fake.journal.slice(-4)).toEqual(["authority stopped", "driver stopped", "mesh stopped", "capture closed"]);
    expect(fake.lines).toContainEqual(
      expect.objectContaining({ message: expect.stringContaining("did not stop as it should") }),
    );
  });

  it("enrols a pod that the mesh adds to this node, and leaves other nodes' changes alone", async () => {
    const agent = await fake.make();
    await agent.start(never);
    fake.wanted = [pod("a")];
    fake.change("n2");
    expect(fake.journal).not.toContain("enrol uid-a");
    fake.change("n1");
    await expect.poll(() => fake.journal).toContain("add uid-a");
  });

  it.each([
    ["leaves the CNI plugin for its successor while the mesh has members", "hbone", [], "left"],
    ["takes the CNI plugin along when the mesh has none left", "none", [], "removed"],
    ["takes the CNI plugin along when it is to release its pods", "hbone", ["--release-on-exit"], "removed"],
  ] as const)("%s", async (_, tunnel, flags, expected) => {
    fake.members = [{ tunnel }];
    const agent = await fake.make(...flags);
    await agent.start(never);
    await agent.stop();
    expect(fake.plugin).toBe(expected);
  });

  it("writes one line and one count for each connection, and none for its own probes", async () => {
    const agent = await fake.make();
    const [, metrics = ""] = await agent.start(never);
    const flow = { ...record(), pod: 1 } as unknown as Parameters<DriverDeps["telemetry"]["flowClosed"]>[0];
    fake.telemetry?.flowClosed(flow, label(), pod("web"));
    const probe = { ...flow, reason: "illegal-port" as const, destination: { address: "192.0.2.1", port: 15001 } };
    fake.telemetry?.flowClosed(probe, label(), pod("web"));
    expect(fake.accessLines).toHaveLength(1);
    const text = await (await fetch(`http://${metrics}/metrics`)).text();
    expect(text).toContain('warren_flows_closed_total{reporter="source",reason="ok"} 1\n');
    expect(text).not.toContain("illegal-port");
    expect(fake.exported).toHaveLength(1);
    expect(fake.spans).toBe(1);
    expect(text).toContain("# TYPE warren_otlp_logs_exported_total counter\nwarren_otlp_logs_exported_total 1\n");
    await agent.stop();
    expect(fake.exportStopped).toBe(true);
  });

  it("survives telemetry that cannot be told", async () => {
    const agent = await fake.make();
    const [, metrics = ""] = await agent.start(never);
    fake.telemetry?.tunnelUp({ tunnel: 1 } as never, undefined);
    expect(await (await fetch(`http://${metrics}/metrics`)).text()).toContain("warren_internal_errors_total 1\n");
  });

  it("logs what the kernel raises and what is wrong with the mesh's objects", async () => {
    const agent = await fake.make();
    await agent.start(never);
    for (const listener of fake.captureListeners) listener({ kind: "no-listener", cookie: 7n, cgroupId: 1n, pid: 42 });
    const problem = { file: "a.yaml", field: "spec", message: "is empty" };
    for (const all of [[problem], [problem], [], [problem]])
      for (const listener of fake.problemListeners) listener(all);
    expect(fake.lines).toContainEqual(expect.objectContaining({ scope: "capture", pid: 42, cookie: "7" }));
    // Once when it came, once when it came back.
    expect(fake.lines.filter((line) => line.message.includes("is wrong"))).toHaveLength(2);
    expect(fake.lines).toContainEqual(
      expect.objectContaining({ scope: "mesh", file: "a.yaml", field: "spec", problem: "is empty" }),
    );
  });

  it("changes the level of all its log while running", async () => {
    const agent = await fake.make();
    const [, , admin = ""] = await agent.start(never);
    const tunnel = {
      direction: "outbound",
      tls: {},
      peerAddress: { address: "10.0.0.1", port: 15008 },
      setupMs: 1,
    } as never;
    fake.telemetry?.tunnelUp(tunnel, undefined);
    expect(fake.lines.map((line) => line.message)).not.toContain("tunnel up");
    await fetch(`http://${admin}/log-level?level=debug`, { method: "POST" });
    fake.telemetry?.tunnelUp(tunnel, undefined);
    expect(fake.lines.map((line) => line.message)).toContain("tunnel up");
  });
});
