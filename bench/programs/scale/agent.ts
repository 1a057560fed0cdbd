/**
 * The agent of the scale bench: the real one with its discovery, driver, engine, certificates and telemetry, but for capture. 250
 * network namespaces would measure the kernel; here pods are captured in name only.
 */
import { openSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import type { Capture } from "../../../src/capture/capture.ts";
import type { MeshIndex } from "../../../src/mesh/mesh-index.ts";
import type { MeshChange, MeshView } from "../../../src/model/mesh.ts";
import type { SocketOps } from "../../../src/model/sockets.ts";
import type { AgentParts } from "../../../src/node/agent-parts.ts";
import type { Driver } from "../../../src/tunnel/driver.ts";
import {
  type AgentRequest,
  endWithParent,
  type FromAgent,
  monotonicMs,
  probePolicy,
  type ToAgent,
  watchLoop,
} from "./messages.ts";

type AgentModule = typeof import("../../../src/node/agent.ts");
type AddonModule = typeof import("../../../src/capture/addon.ts");
type PartsModule = typeof import("../../../src/node/parts.ts");
type ConfigModule = typeof import("../../../src/node/config.ts");
type YoungGenerationModule = typeof import("../../../src/lib/young-generation.ts");
type CompactHeapModule = typeof import("../../../src/lib/compact-heap.ts");
type OldGenerationModule = typeof import("../../../src/lib/old-generation.ts");
type LoaderModule = typeof import("../../../src/lib/config.ts");
type SinkModule = typeof import("../../../src/telemetry/line-sink.ts");
type LogModule = typeof import("../../../src/telemetry/log.ts");
type ScopedLogModule = typeof import("../../../src/telemetry/scoped-log.ts");

function send(message: FromAgent): void {
  process.send?.(message);
}

/** Nothing is steered, everything that asks is told that it is. */
function namesOnly(sockets: SocketOps): Capture {
  const netns = { fd: openSync("/proc/self/ns/net", "r"), dev: 1n, ino: 1n, cookie: 1n };
  return {
    support: {
      release: "",
      cgroup2: undefined,
      backends: { ebpf: { usable: true, missing: [] }, nftables: { usable: false, missing: ["not asked for"] } },
    },
    sockets,
    enrol: async ({ uid, addresses }) => ({
      uid,
      backend: "ebpf",
      netns,
      addresses,
      listeners: [],
      originalDestination: { kind: "conntrack" },
      marks: { leave: 0, deliver: 0 },
    }),
    probe: async () => {},
    update: async () => {},
    release: async () => {},
    exempt: async () => {},
    collectGarbage: async () => [],
    stats: () => ({}),
    onEvent: () => () => {},
    close: async () => {},
  };
}

async function start({ built, args }: AgentRequest): Promise<void> {
  // As users run it where it was built: sources carry the type stripper in their memory.
  const load = async <T>(path: string): Promise<T> =>
    (await import(new URL(built ? `../../../dist/${path}.js` : `../../../src/${path}.ts`, import.meta.url).href)) as T;
  const { keepYoungGenerationSmall } = await load<YoungGenerationModule>("lib/young-generation");
  const { keepOldGenerationSmall } = await load<OldGenerationModule>("lib/old-generation");
  const { compactHeap } = await load<CompactHeapModule>("lib/compact-heap");
  keepYoungGenerationSmall();
  keepOldGenerationSmall();
  const { loadConfig } = await load<LoaderModule>("lib/config");
  const { nodeConfigSchema } = await load<ConfigModule>("node/config");
  const { createLineSink } = await load<SinkModule>("telemetry/line-sink");
  const { createLog } = await load<LogModule>("telemetry/log");
  const { ScopedLog } = await load<ScopedLogModule>("telemetry/scoped-log");
  const { Agent } = await load<AgentModule>("node/agent");
  const { agentParts, loadPrograms } = await load<PartsModule>("node/parts");
  const { loadCaptureAddon } = await load<AddonModule>("capture/addon");
  const { value: config } = await loadConfig(nodeConfigSchema, { args: [...args], environment: {} });
  await loadPrograms(config);
  compactHeap();
  const sink = createLineSink({ destination: 2, buffer: config.accessLog.buffer });
  const log = new ScopedLog(createLog(sink, config.log));
  const real = await agentParts(config);
  let driver: Driver | undefined;
  const parts: AgentParts = {
    ...real,
    cni: undefined,
    openCapture: async () => namesOnly(loadCaptureAddon()),
    findNetns: async () => ({
      path: "/proc/self/ns/net",
      dev: 1n,
      ino: 1n,
      stillHeld: async () => true,
      close: () => {},
    }),
    findKubelet: async () => undefined,
    driver: (deps, options) => {
      driver = real.driver(deps, options);
      return driver;
    },
  };
  // Discovery's, which can be asked about one policy.
  const view = parts.source.view as MeshIndex;
  const key = `${probePolicy.namespace}/${probePolicy.name}`;
  parts.source.onChange((change: MeshChange) => {
    if (change.authorizationPolicies.has(key)) void tellProbe();
  });
  const tellProbe = async () => {
    const [principal = ""] = view.authorizationPolicy(key)?.rules[0]?.from[0]?.principals ?? [];
    if (principal === "") return;
    // Listeners of the same change come first, and with them the judging of open flows.
    await Promise.resolve();
    await driver?.settled();
    send({ kind: "enforced", number: Number(principal.split("-").at(-1)), at: monotonicMs() });
  };
  const agent = new Agent({ parts, log, logSink: sink, accessSink: sink }, { config, version: "0.0.0" });
  // What it cost to load the program is no part of what a mesh costs.
  forgetLoop();
  const before = performance.now();
  await agent.start(new AbortController().signal);
  send({ kind: "started", loadMs: performance.now() - before });
  process.on("message", (message: ToAgent) => {
    if (message.kind !== "count") return;
    void countWorkloads(view).then((workloads) => send({ kind: "count", workloads, pods: driver?.stats().pods ?? 0 }));
  });
}

/** In slices: what the bench asks must not be what it measures. */
async function countWorkloads(view: Pick<MeshView, "workloads">): Promise<number> {
  let count = 0;
  for (const _workload of view.workloads()) {
    count += 1;
    if (count % 256 === 0) await setImmediate();
  }
  return count;
}

process.on("message", (message: ToAgent) => {
  if (message.kind !== "start") return;
  start(message.request).catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exit(1);
  });
});
const forgetLoop = watchLoop();
endWithParent();
