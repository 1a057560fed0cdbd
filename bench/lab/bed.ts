/**
 * A bed on the lab: each variant has a lab of its own with the same pods and programs as every other variant's. Beds of one run
 * stand side by side, so that rounds can go from one to the next without setting anything up; those whose turn it is not rest, frozen.
 */
import type { ChildProcess } from "node:child_process";
import { dirname } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Lab } from "../../src/lab/lab.ts";
import { Cgroup } from "../../src/lab/machine/cgroup.ts";
import type { RunResult } from "../../src/lab/machine/launch.ts";
import type { LabOptions } from "../../src/lab/options.ts";
import { MeshError, messageOf } from "../../src/lib/errors.ts";
import { formatHostPort } from "../../src/lib/host-port.ts";
import type { Peer } from "../arguments.ts";
import type { Bed, Usage } from "../bed.ts";
import { localVariant, type Variant } from "../model.ts";
import { AgentProbe } from "./agent.ts";
import { startMaskedAgents } from "./agent-environment.ts";
import { until } from "./conditions.ts";
import { freeze, thaw } from "./freezer.ts";
import { loadCommand } from "./load.ts";
import { benchManifests, type Cast, clientNode, echoPort, serverNode } from "./manifests.ts";
import { startPeer } from "./peer.ts";
import {
  allProcessors,
  bindProcesses,
  cgroupSeconds,
  inRealTime,
  noiseBetween,
  onProcessors,
  type ProcessorSplit,
  prioritizeProcesses,
  readMachineTime,
  splitProcessors,
} from "./processors.ts";
import type { Program } from "./program.ts";

/** What a lab for some scenarios must be like. */
export interface Recipe {
  readonly name: string;
  readonly cast: Cast;
  /** Beside the pods. */
  readonly manifests?: readonly string[];
  readonly options?: Pick<LabOptions, "backend" | "agentSettings" | "controlSettings">;
  /** Environment of the agents, where it matters. */
  readonly agentEnvironment?: Readonly<Record<string, string>>;
  /** Agents are kept to their share of the processors from their start, so that they have as many threads as suit it. */
  readonly apart?: true;
  /** Its beds are left alone between rounds, because something in them would run out meanwhile. */
  readonly restless?: true;
}

export interface BedRequest {
  readonly program: Program;
  readonly loadGenerator: string;
  readonly recipe: Recipe;
  readonly variant: Variant;
  readonly peer: Peer | undefined;
  readonly say: (line: string) => void;
}

const readyMs = 60_000;

export class LabBed implements Bed {
  readonly variant: Variant;
  readonly lab: Lab;
  readonly cast: Cast;
  readonly loadGenerator: string;
  /** One per node; none in a plain cluster. */
  readonly agents: readonly AgentProbe[];
  readonly #restless: boolean;
  #realTime = false;
  #bound: ProcessorSplit | undefined;
  /** Processes came that nobody has bound yet. */
  #strangers = false;
  #resting = false;

  private constructor({ variant, recipe, loadGenerator }: BedRequest, lab: Lab, agents: readonly AgentProbe[]) {
    this.variant = variant;
    this.lab = lab;
    this.cast = recipe.cast;
    this.loadGenerator = loadGenerator;
    this.agents = agents;
    this.#restless = recipe.restless === true;
  }

  /** Resolves when traffic can flow. Leaves nothing behind when it fails. */
  static async up(request: BedRequest, signal: AbortSignal): Promise<LabBed> {
    const { program, recipe, variant, peer, say } = request;
    const meshed = variant !== "direct" && peer === undefined;
    const split = recipe.apart && splitProcessors();
    const launcher = split === undefined ? [] : onProcessors(split.agents);
    const lab = await program.Lab.up(
      {
        ...recipe.options,
        nodes: 2,
        manifests: [benchManifests(recipe.cast, request.loadGenerator), ...(recipe.manifests ?? [])],
        mesh: meshed,
        ...(meshed && { engine: variant === "typescript" ? "typescript" : "native" }),
        localTraffic: variant === localVariant ? "auto" : "mtls",
        agentLauncher: launcher,
        onEvent: (line) => say(`${variant}: ${line}`),
      },
      signal,
    );
    try {
      await lab.waitReady({ signal, timeoutMs: readyMs });
      if (meshed && recipe.agentEnvironment !== undefined)
        await startMaskedAgents(lab, recipe.agentEnvironment, { signal, timeoutMs: readyMs });
      if (peer !== undefined) await startPeer(lab, peer, launcher, { signal, timeoutMs: readyMs });
      const nodes = variant === "direct" ? [] : [clientNode, serverNode];
      const agents = nodes.map(
        (node) =>
          new AgentProbe(node, lab.node(node).agentCgroup, meshed ? (path) => lab.adminJson(node, path) : undefined),
      );
      const bed = new LabBed(request, lab, agents);
      bed.#checkEngine();
      await bed.#allowManyPorts();
      // Where the group has no share of real time (CONFIG_RT_GROUP_SCHED), or the bench no right to it, load does without.
      bed.#realTime = (await lab.exec(bed.#client, [...inRealTime, "true"])).code === 0;
      if (variant === localVariant) await bed.#waitLocal(signal);
      return bed;
    } catch (error) {
      await lab.down();
      throw error;
    }
  }

  get hasAgents(): boolean {
    return this.agents.length > 0;
  }

  get meshed(): boolean {
    return this.lab.mesh !== undefined;
  }

  get realTime(): boolean {
    return this.#realTime;
  }

  target(port: number, server: string = this.cast.servers[0] ?? ""): string {
    return formatHostPort(this.lab.pod(server).ips[0] ?? "", port);
  }

  async run(argv: readonly string[], timeoutMs: number, signal: AbortSignal): Promise<RunResult> {
    return this.lab.exec(this.#client, this.#onLoadProcessors(argv), { timeoutMs, signal });
  }

  spawn(argv: readonly string[]): ChildProcess {
    return this.lab.spawn(this.#client, this.#onLoadProcessors(argv));
  }

  async observe<T>(what: () => Promise<T>): Promise<T & Usage> {
    const [machine, own, agents] = [readMachineTime(), this.#labSeconds, this.agentSeconds];
    const result = await what();
    return {
      ...result,
      agentSeconds: this.agentSeconds - agents,
      noise: noiseBetween(machine, readMachineTime(), this.#labSeconds - own),
    };
  }

  get agentSeconds(): number {
    return this.agents.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0);
  }

  async bind(split: ProcessorSplit | undefined): Promise<void> {
    if (!this.#strangers && isDeepStrictEqual(this.#bound, split)) return;
    this.#strangers = false;
    this.#bound = split;
    const servers = this.cast.servers.flatMap((server) => {
      const { cgroup } = this.lab.pod(server);
      return cgroup === undefined ? [] : pidsBelow(new Cgroup(cgroup));
    });
    await bindProcesses(servers, split?.load ?? allProcessors());
    await prioritizeProcesses(servers, this.#loadIsRealTime);
    await bindProcesses(
      this.agents.flatMap(({ pids }) => pids),
      split?.agents ?? allProcessors(),
    );
  }

  /** Fresh processes with nothing in their memory from before; what was enrolled stays so. */
  async restartAgents(signal: AbortSignal): Promise<void> {
    await Promise.all(this.agents.map(({ node }) => this.lab.stopAgent(node)));
    await Promise.all(this.agents.map(({ node }) => this.lab.startAgent(node)));
    await until("agents to be ready again", () => this.#agentsReady(), { signal, timeoutMs: readyMs });
    this.#strangers = true;
  }

  /** The whole lab at once: an agent that waits for its control plane, or for its like, does not find it gone. */
  async rest(): Promise<void> {
    if (this.#restless || this.#resting) return;
    this.#resting = true;
    await freeze(this.#cgroup, readyMs);
  }

  async wake(signal: AbortSignal): Promise<void> {
    if (!this.#resting) return;
    this.#resting = false;
    thaw(this.#cgroup);
    // Capture lets nothing through for an agent that gave no sign of life of late.
    if (this.meshed)
      await until("agents to be ready after their rest", () => this.#agentsReady(), { signal, timeoutMs: readyMs });
  }

  async mtu(): Promise<number> {
    return Number((await this.lab.exec(this.#client, ["cat", "/sys/class/net/eth0/mtu"])).stdout);
  }

  down(): Promise<void> {
    if (this.#resting) thaw(this.#cgroup);
    this.#resting = false;
    return this.lab.down();
  }

  /** Throws when one has ended: waiting longer would not bring it back. */
  async #agentsReady(): Promise<boolean> {
    const { mesh } = this.lab;
    const ended = this.agents.find(({ node }) => mesh?.agent(node).running !== true);
    if (ended !== undefined)
      throw new MeshError("MESH_BENCH_NO_AGENT", `the agent on ${ended.node} ended at its start; see its log`);
    return (await mesh?.unready())?.length === 0;
  }

  get #client(): string {
    return this.cast.clients[0] ?? "";
  }

  /** Of the lab: everything in it is below. */
  get #cgroup(): string {
    return dirname(this.lab.node(clientNode).cgroup.path);
  }

  get #labSeconds(): number {
    return cgroupSeconds(this.#cgroup);
  }

  get #loadIsRealTime(): boolean {
    return this.#realTime && this.#bound?.realTime === true;
  }

  #onLoadProcessors(argv: readonly string[]): readonly string[] {
    if (this.#bound === undefined) return argv;
    return [...onProcessors(this.#bound.load), ...(this.#loadIsRealTime ? inRealTime : []), ...argv];
  }

  /** An agent that fell back to the other engine would answer every question of the bench, for the wrong variant. */
  #checkEngine(): void {
    if (
      (this.variant !== "warren" && this.variant !== localVariant) ||
      this.agents.every((agent) => agent.hasLoaded("warren_engine.node"))
    )
      return;
    throw new MeshError("MESH_BENCH_NO_NATIVE_ENGINE", "agents were asked for the native engine and did not load it");
  }

  /**
   * Ready is an agent when it has captured; certificates come a moment later, and until then the tunnel's rules hold. A bed whose
   * connections still went through tunnels would be `warren` under another name.
   */
  async #waitLocal(signal: AbortSignal): Promise<void> {
    const connectionIsLocal = async () => {
      const mark = (await this.lab.agentLog(clientNode)).length;
      await this.run(
        loadCommand(this, "idle", { target: this.target(echoPort), flows: 1, deadline: 5 }),
        10_000,
        signal,
      );
      return /\bsecurity="?local\b/.test((await this.lab.agentLog(clientNode)).slice(mark));
    };
    await until("a connection without a tunnel", connectionIsLocal, { signal, timeoutMs: readyMs });
  }

  /** Short flows leave their ports in TIME_WAIT for a minute: with the usual range a fast variant would run out of them. */
  async #allowManyPorts(): Promise<void> {
    const settings = ["ip_local_port_range=10240 65000", "tcp_tw_reuse=1"];
    const script = settings.map((setting) => setting.replace(/^(\w+)=(.*)$/, "echo $2 > /proc/sys/net/ipv4/$1"));
    for (const pod of [...this.cast.clients, ...this.cast.servers]) {
      const { code, stderr } = await this.lab.exec(pod, ["sh", "-euc", script.join("\n")]);
      if (code !== 0)
        throw new MeshError("MESH_BENCH_SYSCTL", `cannot widen the port range in ${pod}: ${stderr.trim()}`);
    }
  }
}

function pidsBelow(cgroup: Cgroup): number[] {
  return [...cgroup.pids, ...cgroup.children.flatMap(pidsBelow)];
}

/** One line for a report: what failed, and of a log that is quoted below it the last line that tells of an error. */
export function whyNot(error: unknown): string {
  const [first = "", ...rest] = messageOf(error).split("\n");
  const cause = rest.findLast((line) => /\berror\b/i.test(line));
  return cause === undefined ? first : `${first} … ${cause.trim()}`;
}
