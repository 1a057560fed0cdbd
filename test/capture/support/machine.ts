/**
 * A make-believe node for capture tests: a netns with a bridge, pods as netns and cgroups below it, a BPF file system of its own.
 * Everything has the test's pid in its name; `sweep` removes what a killed test left behind.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { cgroup2Mount } from "../../../src/capture/cgroup.ts";

const run = promisify(execFile);
const tool = fileURLToPath(new URL("../../../build/native/testing/warren_pod_tool", import.meta.url));
const prefix = "wcap";
const cgroupRoot = cgroup2Mount(readFileSync("/proc/self/mounts", "utf8")) ?? "/sys/fs/cgroup";
const scratchRoot = "/tmp";

function cgroupOfTest(pid: number | string): string {
  return join(cgroupRoot, `${prefix}-${pid}`);
}

function isAlive(pid: string): boolean {
  return existsSync(`/proc/${pid}`);
}

function pidsIn(cgroup: string): readonly string[] {
  return readFileSync(join(cgroup, "cgroup.procs"), "utf8").split("\n").filter(Boolean);
}

function removeCgroup(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) {
      removeCgroup(join(path, entry.name));
    }
  }
  const end = Date.now() + 30_000;
  for (;;) {
    for (const pid of pidsIn(path)) {
      if (pid !== String(process.pid)) {
        process.kill(Number(pid), "SIGKILL");
      }
    }
    try {
      rmdirSync(path);
      return;
    } catch (error) {
      // Killed processes leave their cgroup a moment later.
      if (Date.now() > end) {
        throw error;
      }
    }
  }
}

function removeTraces(pid: string): void {
  const scratch = join(scratchRoot, `${prefix}-${pid}`);
  if (existsSync(cgroupOfTest(pid))) {
    removeCgroup(cgroupOfTest(pid));
  }
  if (existsSync("/run/netns")) {
    for (const name of readdirSync("/run/netns")) {
      if (name.startsWith(`${prefix}${pid}-`)) {
        execFileSync("ip", ["netns", "delete", name]);
      }
    }
  }
  const mounted = readFileSync("/proc/self/mounts", "utf8").includes(` ${scratch}/bpf `);
  if (mounted) {
    execFileSync("umount", [join(scratch, "bpf")]);
  }
  rmSync(scratch, { recursive: true, force: true });
}

/** Removes what tests of dead processes left. */
export function sweep(): void {
  const pids = new Set<string>();
  const names = [
    ...readdirSync(cgroupRoot),
    ...readdirSync(scratchRoot),
    ...(existsSync("/run/netns") ? readdirSync("/run/netns") : []),
  ];
  for (const name of names) {
    const pid = new RegExp(`^${prefix}-?(\\d+)`).exec(name)?.[1];
    if (pid !== undefined && !isAlive(pid)) {
      pids.add(pid);
    }
  }
  for (const pid of pids) {
    removeTraces(pid);
  }
}

export type Answer = {
  readonly ok: boolean;
  readonly step?: string;
  readonly error?: string;
  readonly peer?: string;
  readonly local?: string;
  readonly greeting?: string;
  readonly echo?: string;
  readonly p50?: number;
  readonly p99?: number;
  readonly ends?: Readonly<Record<string, number>>;
};

/** A running pod tool. */
export class ToolProcess {
  readonly child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #reader: Interface;

  constructor(args: readonly string[]) {
    this.child = spawn(tool, args, { stdio: ["pipe", "pipe", "inherit"] });
    if (this.child.stdout === null) {
      throw new Error("no stdout");
    }
    this.#reader = createInterface({ input: this.child.stdout });
    this.#lines = this.#reader[Symbol.asyncIterator]();
  }

  async answer(): Promise<Answer> {
    const { value, done } = await this.#lines.next();
    return done === true ? { ok: false, step: "exit" } : (JSON.parse(value) as Answer);
  }

  async ask(line: string): Promise<Answer> {
    this.child.stdin?.write(`${line}\n`);
    return this.answer();
  }

  async stop(): Promise<void> {
    this.#reader.close();
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const exited = once(this.child, "exit");
      this.child.kill("SIGKILL");
      await exited;
    }
  }
}

/** Where a process of the machine runs. */
export interface Place {
  readonly netnsPath: string;
  readonly cgroup: string;
}

export interface Pod extends Place {
  readonly name: string;
  readonly uid: string;
  readonly netns: string;
  readonly ip4: string;
  readonly ip6: string;
  readonly addresses: readonly string[];
}

let machines = 0;
let pods = 0;

/** One node. Several in one test have their own bridges; `link` routes between them. */
export class Machine {
  readonly id: string;
  readonly number: number;
  readonly netns: string;
  readonly podsCgroup: string;
  readonly kubeletCgroup: string;
  readonly agentCgroup: string;
  readonly pinDirectory: string;
  /** The node's own network, where kubelet and host processes run. */
  readonly host: Place;
  readonly #processes: ToolProcess[] = [];

  private constructor(number: number) {
    this.number = number;
    this.id = `${prefix}${process.pid}-n${number}`;
    this.netns = this.id;
    const cgroup = join(cgroupOfTest(process.pid), `node${number}`);
    this.podsCgroup = join(cgroup, "kubepods");
    this.kubeletCgroup = join(cgroup, "kubelet");
    this.agentCgroup = join(cgroupOfTest(process.pid), "agent");
    this.pinDirectory = join(scratchRoot, `${prefix}-${process.pid}`, "bpf", `node${number}`);
    this.host = { netnsPath: `/run/netns/${this.netns}`, cgroup: join(cgroup, "system") };
  }

  static async start(): Promise<Machine> {
    sweep();
    machines += 1;
    const machine = new Machine(machines);
    const bpf = join(machine.pinDirectory, "..");
    if (!existsSync(bpf)) {
      mkdirSync(bpf, { recursive: true });
      await run("mount", ["-t", "bpf", "bpf", bpf]);
    }
    for (const cgroup of [machine.podsCgroup, machine.kubeletCgroup, machine.agentCgroup, machine.host.cgroup]) {
      mkdirSync(cgroup, { recursive: true });
    }
    // The test is the agent.
    writeFileSync(join(machine.agentCgroup, "cgroup.procs"), String(process.pid));
    await run("ip", ["netns", "add", machine.netns]);
    await machine.ip(machine.netns, [
      "link set lo up",
      "link add pods type bridge",
      `address add 10.${machine.number}.0.1/16 dev pods`,
      `address add fd00:${machine.number}::1/64 dev pods nodad`,
      "link set pods up",
    ]);
    await machine.sysctl(machine.netns, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1");
    return machine;
  }

  ip(netns: string, commands: readonly string[]): Promise<void> {
    return this.#ip(["-n", netns], commands);
  }

  /** ip(8) commands in the netns of the test itself: for netns by name. */
  batch(commands: readonly string[]): Promise<void> {
    return this.#ip([], commands);
  }

  async #ip(options: readonly string[], commands: readonly string[]): Promise<void> {
    const child = run("ip", [...options, "-batch", "-"]);
    child.child.stdin?.end(`${commands.join("\n")}\n`);
    await child;
  }

  async sysctl(netns: string, ...settings: readonly string[]): Promise<void> {
    await run("nsenter", [`--net=/run/netns/${netns}`, "sysctl", "-qw", ...settings]);
  }

  async nft(netns: string, ruleset: string): Promise<string> {
    const child = run("nsenter", [`--net=/run/netns/${netns}`, "nft", "-f", "-"]);
    child.child.stdin?.end(ruleset);
    return (await child).stdout;
  }

  /** Where the kubelet runs. */
  get kubelet(): Place {
    return { ...this.host, cgroup: this.kubeletCgroup };
  }

  /** stdout of a program in a netns. */
  async output(place: Place, program: string, ...args: readonly string[]): Promise<string> {
    return (await run("nsenter", [`--net=${place.netnsPath}`, program, ...args])).stdout;
  }

  async addPod(name: string): Promise<Pod> {
    pods += 1;
    const netns = `${this.id}-${name}`;
    const device = `v${pods}-${this.number}`;
    const ip4 = `10.${this.number}.${Math.floor(pods / 200)}.${(pods % 200) + 10}`;
    const ip6 = `fd00:${this.number}::${(pods + 16).toString(16)}`;
    const uid = `${name}-${process.pid}-${pods}`;
    await run("ip", ["netns", "add", netns]);
    await this.ip(this.netns, [
      `link add ${device} type veth peer name eth0 netns ${netns}`,
      `link set ${device} master pods up`,
    ]);
    await this.ip(netns, [
      "link set lo up",
      `address add ${ip4}/16 dev eth0`,
      `address add ${ip6}/64 dev eth0 nodad`,
      "link set eth0 up",
      `route add default via 10.${this.number}.0.1`,
      `route add default via fd00:${this.number}::1`,
    ]);
    const cgroup = join(this.podsCgroup, `pod${uid}`);
    mkdirSync(cgroup, { recursive: true });
    return { name, uid, netns, netnsPath: `/run/netns/${netns}`, cgroup, ip4, ip6, addresses: [ip4, ip6] };
  }

  async removePod(pod: Pod): Promise<void> {
    removeCgroup(pod.cgroup);
    await run("ip", ["netns", "delete", pod.netns]);
  }

  /** Starts a long-running tool and waits until it is ready. */
  async start(place: Place, ...args: readonly string[]): Promise<ToolProcess> {
    const process = this.spawn(place, ...args);
    const ready = await process.answer();
    if (!ready.ok) {
      throw new Error(`${args.join(" ")}: ${JSON.stringify(ready)}`);
    }
    return process;
  }

  spawn(place: Place, ...args: readonly string[]): ToolProcess {
    const process = new ToolProcess([`--netns=${place.netnsPath}`, `--cgroup=${place.cgroup}`, ...args]);
    this.#processes.push(process);
    return process;
  }

  /** Runs a tool that answers once. */
  async run(place: Place, ...args: readonly string[]): Promise<Answer> {
    const process = this.spawn(place, ...args);
    try {
      return await process.answer();
    } finally {
      await process.stop();
    }
  }

  async stop(): Promise<void> {
    for (const process of this.#processes) {
      await process.stop();
    }
  }

  /** Ends all machines of this test process. */
  static async stopAll(machinesOfTest: readonly Machine[]): Promise<void> {
    for (const machine of machinesOfTest) {
      await machine.stop();
    }
    writeFileSync(join(cgroupRoot, "cgroup.procs"), String(process.pid));
    removeTraces(String(process.pid));
  }
}

/** A cable between two nodes, with routes to each other's pods. */
export async function link(a: Machine, b: Machine): Promise<void> {
  await run("ip", [
    "-n",
    a.netns,
    "link",
    "add",
    `to${b.number}`,
    "type",
    "veth",
    "peer",
    "name",
    `to${a.number}`,
    "netns",
    b.netns,
  ]);
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    await from.ip(from.netns, [
      `address add 172.16.0.${from.number}/24 dev to${to.number}`,
      `address add fd01::${from.number}/64 dev to${to.number} nodad`,
      `link set to${to.number} up`,
      `route add 10.${to.number}.0.0/16 via 172.16.0.${to.number}`,
      `route add fd00:${to.number}::/64 via fd01::${to.number}`,
    ]);
  }
}
