/** The mesh on the lab: a control plane of one or several replicas, one agent per node. */
import { existsSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { MeshError } from "../../lib/errors.ts";
import type { Cgroup } from "../machine/cgroup.ts";
import type { Sandbox } from "../machine/sandbox.ts";
import type { LabNode } from "../node.ts";
import { rootCertificateFile } from "../operator-door.ts";
import type { LabOptions } from "../options.ts";
import { type AgentPorts, type AgentSlot, agentPorts, makeAgent } from "./agents.ts";
import { controlAdminPort, LabControl } from "./control.ts";
import type { Daemon } from "./daemon.ts";
import { makeNodeTokens } from "./node-tokens.ts";
import { overlay } from "./settings.ts";

export interface MeshRequest {
  readonly options: LabOptions;
  readonly fabric: Sandbox;
  readonly nodes: readonly LabNode[];
  readonly cgroup: Cgroup;
  readonly folder: string;
  readonly manifests: string;
  readonly event: (line: string) => void;
}

export interface DaemonStatus {
  readonly name: string;
  readonly pid: number | undefined;
  readonly ready: boolean;
  readonly log: string;
}

/** The control plane publishes its root certificate within moments of its start. */
const controlStartMs = 60_000;

export class LabMesh {
  /** Its replicas. */
  readonly controls: readonly LabControl[];
  readonly #agents: Map<string, Daemon>;
  readonly #slots = new Map<string, AgentSlot>();
  readonly #makeAgent: (node: LabNode, slot: AgentSlot) => Daemon;
  readonly #nodes: readonly LabNode[];
  readonly #event: (line: string) => void;

  private constructor(
    controls: readonly LabControl[],
    makeAgent: (node: LabNode, slot: AgentSlot) => Daemon,
    { nodes, event }: MeshRequest,
  ) {
    this.controls = controls;
    this.#makeAgent = makeAgent;
    this.#agents = new Map(nodes.map((node) => [node.name, makeAgent(node, 0)]));
    this.#nodes = nodes;
    this.#event = event;
  }

  static async create(request: MeshRequest, signal: AbortSignal): Promise<LabMesh> {
    const { options, fabric, nodes, cgroup, folder, manifests, event } = request;
    const tokens = makeNodeTokens(
      folder,
      nodes.map((node) => node.name),
    );
    const controlRequest = {
      fabric,
      nodes: nodes.map((node) => node.index),
      cgroup,
      folder,
      manifests,
      tokens,
      settings: overlay(
        options.localTraffic === undefined ? {} : { mesh: { localTraffic: options.localTraffic } },
        options.controlSettings ?? {},
      ),
      event,
    };
    const controls: LabControl[] = [];
    for (let replica = 1; replica <= (options.controlReplicas ?? 1); replica++)
      controls.push(await LabControl.create({ ...controlRequest, replica }, signal));
    const rootCertificate = rootCertificateFile(folder);
    const { engine, backend, cni = true, agentLauncher: launcher = [], agentSettings: settings = {} } = options;
    const make = (node: LabNode, slot: AgentSlot) =>
      makeAgent({
        slot,
        node,
        folder,
        rootCertificate,
        tokens,
        engine,
        backend,
        cni,
        settings,
        launcher,
        event,
      });
    return new LabMesh(controls, make, request);
  }

  /** The control plane, when it has one replica; the first of several. */
  get control(): LabControl {
    const [first] = this.controls;
    if (first === undefined) throw new MeshError("MESH_LAB_CONTROL", "this lab has no control plane");
    return first;
  }

  /** By node; of two that overlap the newer one. */
  get agents(): ReadonlyMap<string, Daemon> {
    return this.#agents;
  }

  get #daemons(): Daemon[] {
    return [...this.controls.map(({ daemon }) => daemon), ...this.agents.values()];
  }

  /** Starts the control plane, then the agents as soon as there is a root certificate for them to trust. */
  async start(signal: AbortSignal): Promise<void> {
    await Promise.all(this.controls.map(({ daemon }) => daemon.start()));
    const deadline = Date.now() + controlStartMs;
    while (!existsSync(this.control.rootCertificate)) {
      if (!this.control.daemon.running || Date.now() > deadline)
        throw new MeshError(
          "MESH_LAB_CONTROL",
          `the control plane did not start; its log says: ${this.control.daemon.lastWords()}`,
        );
      signal.throwIfAborted();
      await delay(10);
    }
    this.#event("the control plane is up");
    await Promise.all([...this.agents.values()].map((agent) => agent.start()));
    this.#event("the agents are starting");
  }

  /** The lab goes: processes end with its cgroup. */
  close(): void {
    for (const daemon of this.#daemons) daemon.close();
  }

  agent(node: string): Daemon {
    const agent = this.agents.get(node);
    if (agent === undefined)
      throw new MeshError(
        "MESH_LAB_NOT_FOUND",
        `there is no agent on ${node}; nodes of the lab: ${[...this.agents.keys()].join(", ")}`,
      );
    return agent;
  }

  portsOf(node: string): AgentPorts {
    return agentPorts(this.#slots.get(node) ?? 0);
  }

  /**
   * Brings up a second agent beside the one of a node, as a rolling update with a surge does. Resolves to the first one, still running,
   * when the second is ready; from then on the second is the node's.
   */
  async surgeAgent(name: string, signal: AbortSignal): Promise<Daemon> {
    const former = this.agent(name);
    const node = this.#nodes.find((candidate) => candidate.name === name);
    const slot = this.#slots.get(name) === 1 ? 0 : 1;
    if (node === undefined) return former;
    const next = this.#makeAgent(node, slot);
    await next.start();
    while (!(await this.#statusOf(next, node, "127.0.0.1", agentPorts(slot).readiness)).ready) {
      if (next.failure !== undefined)
        throw new MeshError("MESH_LAB_ENDED", `the next agent of ${name} ended ${next.failure}: ${next.lastWords()}`);
      signal.throwIfAborted();
      await delay(20);
    }
    this.#agents.set(name, next);
    this.#slots.set(name, slot);
    return former;
  }

  /** By the name that logs and status use: `control`, `control-2` or `agent/<node>`. */
  daemon(name: string): Daemon | undefined {
    return this.#daemons.find((daemon) => daemon.name === name);
  }

  async status(): Promise<DaemonStatus[]> {
    const asked = [
      ...this.controls.map(({ daemon, address }) =>
        this.#statusOf(daemon, this.#nodes[0], address.v4, controlAdminPort),
      ),
      ...this.#nodes.map((node) =>
        this.#statusOf(this.agent(node.name), node, "127.0.0.1", this.portsOf(node.name).readiness),
      ),
    ];
    return Promise.all(asked);
  }

  /** Throws if a part ended by itself: waiting would not bring it back. */
  throwIfEnded(): void {
    for (const daemon of this.#daemons) {
      if (daemon.failure === undefined) continue;
      throw new MeshError(
        "MESH_LAB_ENDED",
        `${daemon.name} ended ${daemon.failure}; its log (${daemon.logPath}) says: ${daemon.lastWords()}`,
      );
    }
  }

  /** What is not ready, in words. */
  async unready(): Promise<string[]> {
    const status = await this.status();
    return status.flatMap(({ name, ready, pid, log }) =>
      ready ? [] : [pid === undefined ? `${name} does not run (log: ${log})` : `${name} is not ready (log: ${log})`],
    );
  }

  async #statusOf(daemon: Daemon, from: LabNode | undefined, host: string, port: number): Promise<DaemonStatus> {
    const { name, pid, logPath: log } = daemon;
    if (pid === undefined || from === undefined) return { name, pid, ready: false, log };
    const answer = await from.prober.ask({ kind: "http", host, port, path: "/healthz/ready", timeoutMs: 5000 });
    return { name, pid, ready: answer.ok, log };
  }
}
