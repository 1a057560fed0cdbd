/**
 * The lab: a Kubernetes cluster in miniature on one Linux machine, without containers or images. Its network is made of network
 * namespaces (`machine/`), its control plane of functions over a store of objects (`cluster/`), its pods of the programs that their
 * manifests name (`kubelet/`), and on its nodes runs the real mesh (`mesh/`). This is the composition root: it builds the parts,
 * offers them to tests, demo, benches and the command line, and takes every one of them away again.
 */
import type { ChildProcess, StdioOptions } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { MeshError } from "../lib/errors.ts";
import { applyObjects, deleteObject, type LabelChanges, labelObject } from "./cluster/apply.ts";
import { type ManifestText, parseManifests, readManifestPath } from "./cluster/manifests.ts";
import type { Pod, Service } from "./cluster/objects.ts";
import { findPod } from "./cluster/references.ts";
import type { ObjectStore } from "./cluster/store.ts";
import type { ClusterLoop } from "./cluster-loop.ts";
import type { Kubelet } from "./kubelet/kubelet.ts";
import type { PodRunner } from "./kubelet/pod-runner.ts";
import { buildLabParts, type LabParts } from "./lab-parts.ts";
import { LabSocket } from "./lab-socket.ts";
import { Cgroup } from "./machine/cgroup.ts";
import { launch, type Place, type RunOptions, type RunResult, run } from "./machine/launch.ts";
import type { Sandbox } from "./machine/sandbox.ts";
import { claimLab, defaultStateRoot, type FoundLab, removeLab, sweepLabs } from "./machine/state-folder.ts";
import type { Daemon } from "./mesh/daemon.ts";
import type { LabMesh } from "./mesh/mesh.ts";
import type { LabNode } from "./node.ts";
import { currentNamespace, type LabOptions } from "./options.ts";
import { type CaptureOptions, PacketCapture } from "./packet-capture.ts";
import {
  describePod,
  describeService,
  describeUnready,
  type LabelledObject,
  type LabPod,
  type LabStatus,
} from "./status.ts";

/** Where packets are captured. */
export type CapturePoint =
  | { readonly where: "fabric" }
  | { readonly where: "node"; readonly node: string; readonly interface?: string }
  | { readonly where: "pod"; readonly pod: string; readonly interface?: string };

export interface WaitOptions {
  readonly signal?: AbortSignal;
  /** Default 90 000. */
  readonly timeoutMs?: number;
}

export class Lab {
  readonly id: string;
  readonly folder: string;
  readonly store: ObjectStore;
  /** Undefined without a mesh. */
  readonly mesh: LabMesh | undefined;
  readonly #claim: FoundLab;
  readonly #nodes: readonly LabNode[];
  readonly #fabric: Sandbox;
  readonly #kubelets: ReadonlyMap<string, Kubelet>;
  readonly #loop: ClusterLoop;
  readonly #socket: LabSocket;
  #execs = 0;
  #down: Promise<void> | undefined;

  private constructor(parts: LabParts) {
    this.#claim = parts.claim;
    this.id = parts.claim.id;
    this.folder = parts.claim.folder;
    this.store = parts.store;
    this.#nodes = parts.nodes;
    this.mesh = parts.mesh;
    this.#fabric = parts.fabric;
    this.#loop = parts.loop;
    this.#kubelets = new Map(parts.kubelets.map((kubelet) => [kubelet.node.name, kubelet]));
    this.#socket = new LabSocket(this, join(this.folder, "lab.sock"));
  }

  /** Builds a lab and starts what its manifests say; `waitReady` waits until all of it runs. Leaves nothing behind when it fails. */
  static async up(options: LabOptions, signal: AbortSignal): Promise<Lab> {
    signal.throwIfAborted();
    if (process.getuid?.() !== 0)
      throw new MeshError("MESH_LAB_NOT_ROOT", "a lab makes network namespaces and cgroups: run it as root");
    const texts = [
      ...(options.files ?? []).flatMap(readManifestPath),
      ...(options.manifests ?? []).map((text, index) => ({ name: `manifest ${index + 1}`, text })),
    ];
    const objects = parseManifests(texts, currentNamespace);
    const root = options.stateRoot ?? defaultStateRoot;
    await sweepLabs(root);
    const id = options.id ?? randomBytes(3).toString("hex");
    const claim = claimLab(root, id, options.owner ?? "program");
    let lab: Lab | undefined;
    try {
      lab = new Lab(await buildLabParts(claim, options, signal));
      await lab.#socket.listen();
      applyObjects(lab.store, objects);
      await lab.mesh?.start(signal);
      return lab;
    } catch (error) {
      if (lab === undefined) await removeLab(claim);
      else await lab.down();
      throw error;
    }
  }

  /** The folder of ordinary manifests that shows the whole cluster as it is now. */
  get manifests(): string {
    return this.#loop.rendered.path;
  }

  /** Names, in order. */
  nodes(): string[] {
    return this.#nodes.map((node) => node.name);
  }

  node(name: string): LabNode {
    const node = this.#nodes.find((candidate) => candidate.name === name);
    if (node === undefined)
      throw new MeshError(
        "MESH_LAB_NOT_FOUND",
        `there is no node ${name}; nodes of the lab: ${this.nodes().join(", ")}`,
      );
    return node;
  }

  pods(): LabPod[] {
    return this.store.list("Pod").map((pod) => this.#describe(pod));
  }

  /** `deploy/x`, `pod/x` or `x`, with `<namespace>/` before it for namespaces other than `production`. */
  pod(reference: string): LabPod {
    return this.#describe(findPod(this.store, reference, currentNamespace));
  }

  service(name: string, namespace: string = currentNamespace): Service {
    const service = this.store.get("Service", namespace, name);
    if (service === undefined)
      throw new MeshError("MESH_LAB_NOT_FOUND", `there is no Service ${namespace}/${name}; apply its manifest`);
    return service;
  }

  /** Where programs run by hand in a pod live: a fresh cgroup of the pod's, its namespaces, the environment of its first container. */
  placeInPod(reference: string): { place: Place; env: Record<string, string> } {
    const pod = findPod(this.store, reference, currentNamespace);
    const runner = this.#runner(pod);
    return {
      place: this.#sandboxOf(pod).place(new Cgroup(`${runner?.cgroup.path}/${this.#nextName()}`)),
      env: { ...runner?.environment() },
    };
  }

  /** Runs a program in a pod to its end. */
  exec(reference: string, argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    const { place, env } = this.placeInPod(reference);
    return run(place, argv, { ...options, env: { ...env, ...options.env } });
  }

  /** Starts a program in a pod and leaves it running. What it started goes when it ends. */
  spawn(
    reference: string,
    argv: readonly string[],
    options: { readonly env?: Readonly<Record<string, string>>; readonly stdio?: StdioOptions } = {},
  ): ChildProcess {
    const { place, env } = this.placeInPod(reference);
    const { stdio = "pipe" } = options;
    const child = launch(place, argv, { stdio, env: { ...env, ...options.env }, detached: true });
    // A cgroup that cannot be removed now goes with the lab.
    child.once("exit", () => void place.cgroup.remove().catch(() => {}));
    return child;
  }

  execOnNode(node: string, argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    const env = { PATH: process.env["PATH"] ?? "", ...options.env };
    return this.node(node).run(argv, { ...options, env });
  }

  /**
   * Takes manifests as `kubectl apply` does: all of the text, or nothing when any of it is wrong. Resolves when the controllers have
   * acted on it and agents and nodes can see the result; pods may still be starting.
   */
  async apply(manifest: string | ManifestText): Promise<void> {
    const text = typeof manifest === "string" ? { name: "manifest", text: manifest } : manifest;
    applyObjects(this.store, parseManifests([text], currentNamespace));
    await this.#loop.settled();
  }

  async delete(kind: string, namespace: string | undefined, name: string): Promise<void> {
    deleteObject(this.store, kind, namespace, name);
    await this.#loop.settled();
  }

  /** Sets labels in place; null takes one away. */
  async label(kind: string, namespace: string | undefined, name: string, labels: LabelChanges): Promise<void> {
    const object = this.store.get(kind, namespace, name);
    if (object === undefined)
      throw new MeshError("MESH_LAB_NOT_FOUND", `there is no ${kind} ${name} to label; see: warren lab status`);
    labelObject(this.store, object, labels);
    await this.#loop.settled();
  }

  /** Namespaces and pods that carry a label, whatever its value. */
  labelled(label: string): LabelledObject[] {
    return [...this.store.all()].flatMap(({ kind, metadata: { namespace = "", name, labels } }) =>
      (kind === "Namespace" || kind === "Pod") && labels?.[label] !== undefined ? [{ kind, namespace, name }] : [],
    );
  }

  labelNamespace(name: string, labels: LabelChanges): Promise<void> {
    return this.label("Namespace", undefined, name, labels);
  }

  /** Resolves when a condition on the cluster holds; asked again at each change of it. */
  async waitFor(what: string, holds: () => boolean, options: WaitOptions = {}): Promise<void> {
    const timeout = AbortSignal.timeout(options.timeoutMs ?? 90_000);
    const signal = options.signal === undefined ? timeout : AbortSignal.any([options.signal, timeout]);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const check = () => {
      try {
        if (holds()) resolve();
      } catch (error) {
        reject(error);
      }
    };
    const onAbort = () =>
      reject(timeout.aborted ? new MeshError("MESH_LAB_TIMEOUT", `${what}: not in time`) : signal.reason);
    const unsubscribe = this.store.onChange(check);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      check();
      if (signal.aborted) onAbort();
      await promise;
    } finally {
      unsubscribe();
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Waits until every pod that is to run is ready, every change took effect on the nodes, and the mesh says that it is ready. */
  async waitReady(options: WaitOptions = {}): Promise<void> {
    const deadline = Date.now() + (options.timeoutMs ?? 90_000);
    for (;;) {
      options.signal?.throwIfAborted();
      this.mesh?.throwIfEnded();
      await this.#loop.settled();
      const unready = describeUnready(this.store.list("Pod"));
      if (unready.length === 0) unready.push(...((await this.mesh?.unready()) ?? []));
      if (unready.length === 0) return;
      if (Date.now() > deadline)
        throw new MeshError(
          "MESH_LAB_TIMEOUT",
          `not ready in time: ${unready.join("; ")}; see the logs in ${join(this.folder, "logs")}`,
        );
      await delay(20);
    }
  }

  /** Takes packets at a point until `stop`. */
  async capturePackets(point: CapturePoint, options: CaptureOptions = {}): Promise<PacketCapture> {
    const name = this.#nextName();
    const path = join(this.folder, "captures", `${name}.pcap`);
    mkdirSync(dirname(path), { recursive: true });
    const [sandbox, networkInterface] = this.#capturePoint(point);
    // In no pod's cgroup, so that watching never looks like the pod's own doing; and in the host's mounts, where the caller reads.
    const cgroup = new Cgroup(this.#claim.owner.cgroup).child("fabric").child(name);
    return PacketCapture.start(sandbox.place(cgroup, ["net"]), networkInterface, path, options);
  }

  /** What an agent's admin endpoint answers, asked from inside its node. */
  adminGet(node: string, path: string, timeoutMs = 30_000): Promise<{ status: number; body: string }> {
    return this.node(node).prober.get("127.0.0.1", this.#meshOrThrow().portsOf(node).admin, path, timeoutMs);
  }

  async adminJson(node: string, path: string): Promise<unknown> {
    const { status, body } = await this.adminGet(node, path);
    if (status !== 200)
      throw new MeshError("MESH_LAB_UNREACHABLE", `the agent on ${node} answered ${status} to ${path}: ${body}`);
    return JSON.parse(body) as unknown;
  }

  /** Resolves when the process runs; it says itself when it is ready. */
  startAgent(node: string): Promise<void> {
    return this.#meshOrThrow().agent(node).start();
  }

  /** SIGTERM; resolves when the agent drained and ended. */
  stopAgent(node: string): Promise<void> {
    return this.#meshOrThrow().agent(node).stop();
  }

  /** The next agent of a node beside the present one, which is returned when the next is ready; stop it to end the overlap. */
  surgeAgent(node: string, signal: AbortSignal): Promise<Daemon> {
    return this.#meshOrThrow().surgeAgent(node, signal);
  }

  /** SIGKILL. */
  killAgent(node: string): Promise<void> {
    return this.#meshOrThrow().agent(node).kill();
  }

  /** All that the agents of a node have said since the lab began. */
  agentLog(node: string): Promise<string> {
    return readFile(this.#meshOrThrow().agent(node).logPath, "utf8");
  }

  /** `deploy/x`, `pod/x`, `x`, `agent/<node>` or `control`; of a pod the first container's unless named. */
  logPath(reference: string, container?: string): string {
    const daemon = this.mesh?.daemon(reference);
    if (daemon !== undefined) return daemon.logPath;
    const { metadata, spec } = findPod(this.store, reference, currentNamespace);
    const name = container ?? spec.containers[0]?.name ?? "";
    if (!spec.containers.some((candidate) => candidate.name === name))
      throw new MeshError(
        "MESH_LAB_NOT_FOUND",
        `pod ${metadata.name} has no container ${name}; it has: ${spec.containers.map((one) => one.name).join(", ")}`,
      );
    return join(this.folder, "logs", `${metadata.namespace}_${metadata.name}_${name}.log`);
  }

  async status(): Promise<LabStatus> {
    return {
      id: this.id,
      folder: this.folder,
      nodes: this.#nodes.map((node) => ({ name: node.name, ips: [node.addresses.v4, node.addresses.v6] })),
      pods: this.pods(),
      services: this.store.list("Service").map(describeService),
      mesh: (await this.mesh?.status()) ?? [],
    };
  }

  /** Leaves the lab to whoever asks it to go, by `warren lab down` or by a signal to this process; resolves when it is gone. */
  async handOver(signal?: AbortSignal): Promise<void> {
    const asked = new Promise<void>((resolve) => {
      this.#socket.onDown = resolve;
      signal?.addEventListener("abort", () => resolve(), { once: true });
      if (signal?.aborted === true) resolve();
    });
    // Nothing else keeps this process: the lab's children and its socket let it go.
    const stay = setInterval(() => {}, 2 ** 30);
    await asked;
    clearInterval(stay);
    await this.down();
  }

  /** Removes everything. May be called twice. */
  down(): Promise<void> {
    this.#down ??= (async () => {
      this.#loop.close();
      this.mesh?.close();
      await removeLab(this.#claim);
      await this.#socket.close();
    })();
    return this.#down;
  }

  #describe(pod: Pod): LabPod {
    return describePod(pod, this.#runner(pod));
  }

  #runner(pod: Pod): PodRunner | undefined {
    return this.#kubelets.get(pod.spec.nodeName ?? "")?.runner(pod.metadata.uid ?? "");
  }

  #sandboxOf(pod: Pod): Sandbox {
    const sandbox = this.#runner(pod)?.sandbox;
    if (sandbox === undefined)
      throw new MeshError(
        "MESH_LAB_NOT_RUNNING",
        `pod ${pod.metadata.namespace}/${pod.metadata.name} does not run yet; wait for it, or see: warren lab status`,
      );
    return sandbox;
  }

  #capturePoint(point: CapturePoint): [Sandbox, string] {
    switch (point.where) {
      case "fabric":
        return [this.#fabric, "fabric"];
      case "node":
        return [this.node(point.node).sandbox, point.interface ?? "eth0"];
      case "pod":
        return [this.#sandboxOf(findPod(this.store, point.pod, currentNamespace)), point.interface ?? "eth0"];
    }
  }

  #meshOrThrow(): LabMesh {
    if (this.mesh === undefined)
      throw new MeshError("MESH_LAB_NO_MESH", "this lab was made without a mesh; make one with it");
    return this.mesh;
  }

  /** Of cgroups and files that belong to one thing done by hand. */
  #nextName(): string {
    this.#execs++;
    return `run-${this.#execs}`;
  }
}
