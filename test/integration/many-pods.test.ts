/**
 * A node full of pods: the real agent, asked by the container runtime for each of 500, in netns that hold an address and nothing else, beside
 * one that has a network and opens connections through the agent before and after. What a pod costs in time, in memory of the agent and of the
 * kernel's maps, and in others' round trips is printed; what it may cost in descriptors, and that nothing is left, is asserted.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { warrenCommand } from "../../src/lab/mesh/program.ts";
import { Machine, type Pod } from "../capture/support/machine.ts";

const run = promisify(execFile);
const count = 500;
/** Runtimes start pods a few at a time. */
const atOnce = 8;
const eventually = { timeout: 60_000, interval: 100 };

const names = Array.from({ length: count }, (_, index) => `p${index}`);
/** Connection, request, answer, end; one after the other. */
const roundTrips = 200;
const serverPort = 9000;
const serverProgram = `require("node:net").createServer((socket) => socket.on("error", () => {}).once("data", () => socket.end("answer")))
  .listen(${serverPort}, () => console.log("listening"))`;
const clientProgram = `const { connect } = require("node:net");
const once = () => new Promise((resolve, reject) => {
  const started = performance.now();
  let answer = "";
  connect(${serverPort}, process.argv[1], function () { this.write("request"); })
    .on("data", (data) => { answer += data; }).on("error", reject)
    .on("close", () => answer === "answer" ? resolve(performance.now() - started) : reject(new Error("no answer")));
});
(async () => { const took = []; for (let i = 0; i < ${roundTrips}; i++) took.push(await once()); console.log(JSON.stringify(took)); })();`;

const addressOf = (index: number) => `10.200.${Math.floor(index / 250)}.${(index % 250) + 1}`;

function manifests(enrolled: ReadonlySet<string>, busy: Pod | undefined): string {
  const all = [...names, ...(busy === undefined ? [] : [busy.name])];
  const pods = all.map((name) => {
    const mode = enrolled.has(name) ? "ambient" : "none";
    const metadata = `{name: ${name}, namespace: full, uid: uid-${name}, labels: {warren.dev/mode: ${mode}}}`;
    return `{apiVersion: v1, kind: Pod, metadata: ${metadata}, spec: {nodeName: n1}}`;
  });
  return ["{apiVersion: v1, kind: Namespace, metadata: {name: full}}", ...pods].join("\n---\n");
}

describe(`${count} pods on one node`, () => {
  let machine: Machine;
  let folder: string;
  let agent: ChildProcess;
  let server: ChildProcess | undefined;
  let busy: Pod | undefined;
  let log = "";
  const netns = (index: number) => `${machine.id}-m${index}`;

  beforeAll(async () => {
    machine = await Machine.start();
    folder = join(machine.pinDirectory, "..", "..", "many");
    mkdirSync(join(folder, "cluster"), { recursive: true });
    busy = await machine.addPod("busy");
    enrol([...names, busy.name]);
    await machine.batch(names.map((_, index) => `netns add ${netns(index)}`));
    for (const [index] of names.entries()) {
      await machine.ip(netns(index), ["link set lo up", `address add ${addressOf(index)}/32 dev lo`]);
    }
    writeFileSync(
      join(folder, "agent.json"),
      JSON.stringify({
        node: "n1",
        manifests: join(folder, "cluster"),
        // Nobody is there: no certificate is needed for being captured and refused.
        control: { address: "127.0.0.1:1", rootCertificate: join(folder, "none"), tokenFile: join(folder, "none") },
        capture: {
          pinDirectory: machine.pinDirectory,
          podsCgroup: machine.podsCgroup,
          kubeletCgroup: machine.kubeletCgroup,
          agentCgroup: join(machine.agentCgroup, "many"),
          backend: "ebpf",
        },
        cni: { socket: join(folder, "cni.sock"), wait: "60s" },
        enrolment: { verify: "1h" },
        drain: { deadline: "1s" },
      }),
    );
    mkdirSync(join(machine.agentCgroup, "many"));
    agent = spawn(
      "sh",
      [
        "-c",
        `echo 0 >"$0/cgroup.procs" && exec nsenter --net=${machine.host.netnsPath} "$@"`,
        join(machine.agentCgroup, "many"),
        ...warrenCommand(),
        "node",
        "--config",
        join(folder, "agent.json"),
      ],
      { stdio: ["ignore", "pipe", "pipe"] },
    );
    for (const stream of [agent.stdout, agent.stderr]) stream?.on("data", (text: Buffer) => (log += text.toString()));
  });

  afterAll(async () => {
    server?.kill("SIGKILL");
    if (agent !== undefined && agent.exitCode === null && agent.signalCode === null) {
      agent.kill("SIGKILL");
      await once(agent, "exit");
    }
    await Machine.stopAll([machine]);
  });

  const enrol = (which: readonly string[]) =>
    writeFileSync(join(folder, "cluster", "all.yaml"), manifests(new Set(which), busy));

  /** What the agent answers to one question of the plugin. */
  function ask(name: string, netnsPath: string, addresses: readonly string[]): Promise<{ ok: boolean }> {
    const question = {
      version: 1,
      command: "add",
      container: `c-${name}`,
      netns: netnsPath,
      interface: "eth0",
      pod: { uid: `uid-${name}`, name, namespace: "full" },
      addresses,
    };
    const { promise, resolve, reject } = Promise.withResolvers<{ ok: boolean }>();
    const socket = connect(join(folder, "cni.sock"), () => socket.write(`${JSON.stringify(question)}\n`));
    let said = "";
    socket.on("data", (text: Buffer) => (said += text.toString())).once("error", reject);
    socket.once("close", () => resolve(said === "" ? { ok: false } : (JSON.parse(said) as { ok: boolean })));
    return promise;
  }

  const descriptors = () => readdirSync(`/proc/${agent.pid}/fd`).length;
  /** The heap's: pages of the program come and go as it uses them. */
  const anonymousKiB = () => Number(/RssAnon:\s+(\d+)/.exec(readFileSync(`/proc/${agent.pid}/status`, "utf8"))?.[1]);
  const states = async () => {
    const page = await machine.output(machine.host, "curl", "-sS", "http://127.0.0.1:15020/metrics");
    const of = (state: string) => Number(new RegExp(`^warren_pods\\{state="${state}"\\} (\\d+)`, "m").exec(page)?.[1]);
    return { captured: of("captured"), leaving: of("leaving"), failed: of("failed") };
  };
  const carried = async () => {
    const page = await machine.output(machine.host, "curl", "-sS", "http://127.0.0.1:15020/metrics");
    const opened = page.matchAll(/^istio_tcp_connections_opened_total\{.*\} (\d+)$/gm);
    return [...opened].reduce((sum, [, value]) => sum + Number(value), 0);
  };
  const entries = async (map: string) =>
    (
      JSON.parse(
        (await run("bpftool", ["-j", "map", "dump", "pinned", join(machine.pinDirectory, "v1/maps", map)])).stdout,
      ) as object[]
    ).length;

  /** Locked by the maps that all pods share. */
  const mapKiB = async () => {
    const folder = join(machine.pinDirectory, "v1/maps");
    const sizes = readdirSync(folder).map(async (map) => {
      const { stdout } = await run("bpftool", ["-j", "map", "show", "pinned", join(folder, map)]);
      return (JSON.parse(stdout) as { bytes_memlock: number }).bytes_memlock;
    });
    return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0) / 1024;
  };

  /** Of the pod that has a network, to a server on the node, through the agent; milliseconds, sorted. */
  async function timed(pod: Pod): Promise<readonly number[]> {
    const script = 'echo 0 >"$0/cgroup.procs" && exec nsenter --net="$1" "$2" -e "$3" "$4"';
    const args = [pod.cgroup, pod.netnsPath, process.execPath, clientProgram, `10.${machine.number}.0.1`];
    const { stdout } = await run("sh", ["-c", script, ...args]);
    return (JSON.parse(stdout) as number[]).sort((one, other) => one - other);
  }

  it("are each captured before they start, and leave without a trace", { timeout: 300_000 }, async () => {
    await expect.poll(() => existsSync(join(folder, "cni.sock")) || agent.exitCode !== null, eventually).toBe(true);
    expect({ ended: agent.exitCode, log: agent.exitCode === null ? "" : log }).toEqual({ ended: null, log: "" });
    if (busy === undefined) throw new Error("there is no pod with a network");
    server = spawn("nsenter", [`--net=${machine.host.netnsPath}`, process.execPath, "-e", serverProgram]);
    await once(server.stdout ?? server, "data");
    expect(await ask(busy.name, busy.netnsPath, busy.addresses)).toMatchObject({ ok: true });
    const alone = await timed(busy);
    const before = { descriptors: descriptors(), anonymousKiB: anonymousKiB(), mapKiB: await mapKiB() };
    const started = performance.now();
    const took: number[] = [];
    const refused: number[] = [];
    let next = 0;
    const runtime = async () => {
      for (let index = next++; index < count; index = next++) {
        const asked = performance.now();
        if (!(await ask(`p${index}`, `/run/netns/${netns(index)}`, [addressOf(index)])).ok) refused.push(index);
        took.push(performance.now() - asked);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, runtime));
    const total = performance.now() - started;
    expect({ refused, log: refused.length === 0 ? "" : log.slice(-2000) }).toEqual({ refused: [], log: "" });
    expect(await states()).toEqual({ captured: count + 1, leaving: 0, failed: 0 });
    const full = { descriptors: descriptors(), anonymousKiB: anonymousKiB(), mapKiB: await mapKiB() };
    const crowded = await timed(busy);
    const quantile = (sorted: readonly number[], share: number) =>
      (sorted[Math.floor(sorted.length * share)] ?? 0).toFixed(2);
    // Through the agent, each of them.
    expect(await carried()).toBeGreaterThanOrEqual(2 * roundTrips);
    took.sort((one, other) => one - other);
    console.log(
      [
        `${count} pods in ${Math.round(total)} ms: ${(total / count).toFixed(1)} ms a pod`,
        `a pod waits ${Math.round(took[count / 2] ?? 0)} ms in the median, ${Math.round(took.at(-1) ?? 0)} ms at most, ${atOnce} at a time`,
        `memory ${before.anonymousKiB} KiB → ${full.anonymousKiB} KiB: ${((full.anonymousKiB - before.anonymousKiB) / count).toFixed(1)} KiB a pod`,
        `maps of the kernel ${Math.round(before.mapKiB)} KiB → ${Math.round(full.mapKiB)} KiB`,
        `round trip of a connection beside 0 → ${count} pods: median ${quantile(alone, 0.5)} → ${quantile(crowded, 0.5)} ms, 99th percentile ${quantile(alone, 0.99)} → ${quantile(crowded, 0.99)} ms`,
        `descriptors ${before.descriptors} → ${full.descriptors}`,
      ].join("\n"),
    );
    // The netns, held by capture, by the engine and by who looks into pods for people; three listeners; a handful beside.
    expect(full.descriptors - before.descriptors).toBeLessThanOrEqual(count * 6 + 40);
    // Most of it is what the JavaScript heap grew by on the way; this only catches a leak.
    expect((full.anonymousKiB - before.anonymousKiB) / count).toBeLessThan(600);
    expect(await entries("pods")).toBe(count + 1);

    enrol([]);
    await expect.poll(states, eventually).toEqual({ captured: 0, leaving: 0, failed: 0 });
    expect(readdirSync(join(machine.pinDirectory, "v1/pods"))).toEqual([]);
    expect(await Promise.all([entries("pods"), entries("pod_addrs"), entries("listeners")])).toEqual([0, 0, 0]);
    for (const index of [0, 123, count - 1]) {
      expect(await machine.output({ ...machine.host, netnsPath: `/run/netns/${netns(index)}` }, "ss", "-Hltn")).toBe(
        "",
      );
      expect(
        await machine.output({ ...machine.host, netnsPath: `/run/netns/${netns(index)}` }, "ip", "rule"),
      ).not.toMatch(/fwmark/);
    }
    // A pod that was let go comes back where it was. What the engine holds of a pod for the time of its drain it gives back with the end
    // of a later one.
    const gone = { captured: 0, leaving: 0, failed: 0 };
    const comeAndGo = async () => {
      enrol(["p7"]);
      await expect.poll(states, eventually).toEqual({ ...gone, captured: 1 });
      enrol([]);
      await expect.poll(states, eventually).toEqual(gone);
      return descriptors();
    };
    await expect.poll(comeAndGo, { timeout: 60_000, interval: 1000 }).toBeLessThanOrEqual(before.descriptors + 20);
  });
});
