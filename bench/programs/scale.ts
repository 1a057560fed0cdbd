/**
 * A control plane and an agent under a cluster of many pods, each a process of its own and joined as in a cluster: the API server's
 * double, `warren control` on its watches, discovery and certificates over TLS, the agent. Measures the first load, memory at rest,
 * and then, under churn, how long a changed policy takes from its write to being in force. Prints one JSON document.
 *
 *   node bench/programs/scale.ts --workloads 150000 [--policies 10000] [--pods 250] [--seconds 15] [--profile DIR]
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { memoryOf } from "../lab/agent.ts";
import { settled, until } from "../lab/conditions.ts";
import { loadProgram } from "../lab/program.ts";
import { quantile } from "../statistics.ts";
import {
  type FromAgent,
  type FromCluster,
  scaleNode,
  type ToAgent,
  type ToCluster,
  type WatcherAnswer,
} from "./scale/messages.ts";

const { values: options } = parseArgs({
  options: {
    workloads: { type: "string", default: "10000" },
    policies: { type: "string", default: "10000" },
    pods: { type: "string", default: "250" },
    seconds: { type: "string", default: "15" },
    profile: { type: "string" },
  },
});
const size = {
  workloads: Number(options.workloads),
  policies: Number(options.policies),
  localPods: Number(options.pods),
};
const seconds = Number(options.seconds);
const churnPerSecond = 0.01;
const probesPerSecond = 4;
/** Of the churn of a second: pods come and go all the time, not once in it. */
const churnsPerProbe = 5;
const patienceMs = 15 * 60_000;

/** Of control and agent, for the folder asked for; Node writes them when a process ends by itself. */
const profiling = options.profile === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${options.profile}`];
/** Told to stop, it ends what it has started and takes its folder away like at any other end. */
const stop = new AbortController();
process
  .once("SIGTERM", () => stop.abort(new Error("told to stop")))
  .once("SIGINT", () => stop.abort(new Error("told to stop")));
const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(patienceMs)]);
const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const children: ChildProcess[] = [];

/** Its own words go to standard error: standard output is for the document. */
function start(path: string, args: readonly string[] = [], execArgv: readonly string[] = []): ChildProcess {
  const child = fork(path, [...args], { execArgv: [...execArgv], stdio: ["ignore", "ignore", "inherit", "ipc"] });
  children.push(child);
  return child;
}

/** The next message of this kind. Rejects when the process ends first. */
async function hear<T extends { readonly kind: string }, K extends T["kind"]>(
  child: ChildProcess,
  kind: K,
): Promise<Extract<T, { kind: K }>> {
  const found = Promise.withResolvers<Extract<T, { kind: K }>>();
  const listen = (message: T) => {
    if (message.kind === kind) found.resolve(message as Extract<T, { kind: K }>);
  };
  const ended = (code: number | null, by: string | null) =>
    found.reject(new Error(`a process ended with ${by ?? code}`));
  const late = () => found.reject(signal.reason);
  child.on("message", listen).once("exit", ended);
  signal.addEventListener("abort", late, { once: true });
  try {
    return await found.promise;
  } finally {
    child.off("message", listen).off("exit", ended);
    signal.removeEventListener("abort", late);
  }
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const address = probe.address();
  probe.close();
  await once(probe, "close");
  return typeof address === "object" && address !== null ? address.port : 0;
}

const tell = (child: ChildProcess, message: ToCluster | ToAgent) => child.send(message);
const askLoop = async (child: ChildProcess): Promise<WatcherAnswer> => {
  const answer = hear<WatcherAnswer, "loop">(child, "loop");
  tell(child, { kind: "loop" });
  return answer;
};
const memory = (child: ChildProcess) => memoryOf(readFileSync(`/proc/${child.pid}/smaps_rollup`, "utf8"));
const atRest = async (child: ChildProcess) => {
  await settled(() => memory(child).anonymous, { signal, within: 0.01, timeoutMs: 20_000 });
  return memory(child);
};
const isReady = async (port: number) =>
  (await fetch(`http://127.0.0.1:${port}/healthz/ready`).catch(() => undefined))?.ok === true;

const folder = mkdtempSync(join(tmpdir(), "warren-scale-"));
try {
  const { from } = await loadProgram();
  const cluster = start(here("scale/cluster.ts"));
  const made = hear<FromCluster, "made">(cluster, "made");
  tell(cluster, { kind: "make", request: { size, folder } });
  const { kubeconfig, token } = await made;

  const [port, adminPort] = [await freePort(), await freePort()];
  const controlStarted = performance.now();
  const root = join(folder, "root.pem");
  const main = from === "dist" ? here("../../dist/main.js") : here("../../src/main.ts");
  const control = start(
    main,
    [
      "control",
      `--kubernetes-config=${kubeconfig}`,
      `--publish-root=${root}`,
      `--listen=127.0.0.1:${port}`,
      `--admin=127.0.0.1:${adminPort}`,
      "--log-level=warn",
    ],
    ["--import", here("scale/loop-watch.ts"), ...profiling],
  );
  await until("the control plane to be ready", () => isReady(adminPort), { signal, timeoutMs: patienceMs });
  const controlLoadMs = performance.now() - controlStarted;
  const controlLoading = await askLoop(control);

  const agent = start(here("scale/agent.ts"), [], profiling);
  const started = hear<FromAgent, "started">(agent, "started");
  const args = [
    `--node=${scaleNode}`,
    `--control-address=localhost:${port}`,
    `--control-root-certificate=${root}`,
    `--control-token-file=${token}`,
    `--discovery-state-file=${join(folder, "last-good-state")}`,
    "--admin=127.0.0.1:0",
    "--metrics=127.0.0.1:0",
    "--readiness=127.0.0.1:0",
    "--log-level=warn",
  ];
  tell(agent, { kind: "start", request: { built: from === "dist", args } });
  const { loadMs: agentLoadMs } = await started;
  const complete = async () => {
    const answer = hear<FromAgent, "count">(agent, "count");
    tell(agent, { kind: "count" });
    const { workloads, pods } = await answer;
    return workloads >= size.workloads && pods >= size.localPods;
  };
  await until("the agent to hold the cluster and its pods", complete, { signal, timeoutMs: patienceMs });
  const agentLoading = await askLoop(agent);
  await askLoop(control);
  const resting = { agent: await atRest(agent), control: await atRest(control) };
  await askLoop(agent);

  const written = new Map<number, number>();
  const taken: number[] = [];
  cluster.on("message", (message: FromCluster) => {
    if (message.kind === "written") written.set(message.number, message.at);
  });
  const enforced = new Set<number>();
  agent.on("message", (message: FromAgent) => {
    if (message.kind !== "enforced" || enforced.has(message.number)) return;
    const at = written.get(message.number);
    // Changes that came together are one: the later stands for both.
    if (at === undefined) return;
    enforced.add(message.number);
    taken.push(message.at - at);
  });
  const lastProbe = seconds * probesPerSecond;
  for (let number = 1; number <= lastProbe; number += 1) {
    tell(cluster, { kind: "probe", number });
    for (let part = 0; part < churnsPerProbe; part += 1) {
      tell(cluster, { kind: "churn", share: churnPerSecond / (probesPerSecond * churnsPerProbe) });
      await delay(1000 / (probesPerSecond * churnsPerProbe), undefined, { signal });
    }
  }
  await until("the last change to be in force", () => enforced.has(lastProbe), { signal, timeoutMs: patienceMs });
  const churning = { agent: await askLoop(agent), control: await askLoop(control) };
  const result = {
    size,
    program: from,
    load: { controlMs: controlLoadMs, agentMs: agentLoadMs },
    memory: { atRest: resting, afterChurn: { agent: memory(agent), control: memory(control) } },
    loop: { controlLoading, agentLoading, controlChurning: churning.control, agentChurning: churning.agent },
    enforcementMs: { p50: quantile(taken, 0.5), p99: quantile(taken, 0.99), seen: taken.length, written: lastProbe },
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
  if (options.profile !== undefined) {
    const gone = [control, agent].map((child) => once(child, "exit", { signal }));
    for (const child of [control, agent]) child.disconnect();
    await Promise.all(gone);
  }
} finally {
  for (const child of children) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
}
process.exit(process.exitCode ?? 0);
