/** One pod on its node: its sandbox, its containers, its status. */
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../lib/errors.ts";
import type { ConfigMap, Container, Pod, Probe } from "../cluster/objects.ts";
import { type ContainerReport, statusOf } from "../cluster/pod-status.ts";
import type { Cgroup } from "../machine/cgroup.ts";
import { podScript } from "../machine/network.ts";
import { Sandbox } from "../machine/sandbox.ts";
import type { LabNode } from "../node.ts";
import { containerCommand } from "./container-command.ts";
import { ContainerRunner } from "./container-runner.ts";
import type { SandboxFacts } from "./network-plugins.ts";
import { attemptProbe } from "./probe-attempt.ts";
import type { RuntimeSandbox } from "./runtime-socket.ts";
import { planVolumes, shellQuoted, writeVolumes } from "./volumes.ts";

export interface PodDeps {
  readonly node: LabNode;
  readonly configMap: (name: string) => ConfigMap | undefined;
  /** The pod as it stands in the store now. */
  readonly current: () => Pod;
  readonly onStatus: (status: NonNullable<Pod["status"]>) => void;
  readonly event: (line: string) => void;
}

export interface PodOptions {
  readonly addresses: { readonly v4: string; readonly v6: string };
  readonly files: PodFiles;
  readonly path: string;
}

/** Paths in the lab's state folder. */
export interface PodFiles {
  readonly hosts: string;
  readonly resolver: string;
  readonly volumes: string;
  readonly logs: string;
}

export class PodRunner {
  readonly cgroup: Cgroup;
  readonly startedAt = new Date();
  readonly #deps: PodDeps;
  readonly #options: PodOptions;
  readonly #stop = new AbortController();
  /** The sandbox's id, as network plugins and the runtime's socket name it. */
  readonly #container = randomBytes(16).toString("hex");
  /** What network plugins were told, and have to be told of again when the sandbox goes. */
  #network: SandboxFacts | undefined;
  #sandbox: Sandbox | undefined;
  #containers: ContainerRunner[] = [];
  #initContainers: ContainerRunner[] = [];
  #initialized = false;
  #nextInit = 0;

  constructor(deps: PodDeps, options: PodOptions) {
    this.#deps = deps;
    this.#options = options;
    this.cgroup = deps.node.kubepods.child(`pod${deps.current().metadata.uid}`);
  }

  get sandbox(): Sandbox | undefined {
    return this.#sandbox;
  }

  /** As the container runtime tells of it; undefined before it is made. */
  get runtimeSandbox(): RuntimeSandbox | undefined {
    if (this.#sandbox === undefined) return undefined;
    const { uid = "", name, namespace = "" } = this.#deps.current().metadata;
    const { pid, netnsPath: netns } = this.#sandbox;
    return { container: this.#container, uid, name, namespace, pid, netns, createdAt: this.startedAt };
  }

  /** Makes the sandbox; the pod has its addresses in the cluster before its containers start. */
  async start(): Promise<void> {
    const pod = this.#deps.current();
    this.#sandbox = await this.#makeSandbox(pod);
    this.#sandbox.onExit(() => {
      if (!this.#stop.signal.aborted) this.#deps.event("the sandbox ended; delete the pod to have it made anew");
    });
    await this.#joinNetwork(pod);
    this.#report();
    const runner = (container: Container, policy: Pod["spec"]["restartPolicy"]) =>
      this.#runnerOf(container, policy, this.#report);
    this.#containers = pod.spec.containers.map((container) => runner(container, pod.spec.restartPolicy));
    const initPolicy = pod.spec.restartPolicy === "Never" ? "Never" : "OnFailure";
    this.#initContainers = pod.spec.initContainers.map((container) => runner(container, initPolicy));
    this.#advance();
  }

  get probeSuccesses(): number {
    return this.#containers.reduce((sum, container) => sum + container.probeSuccesses, 0);
  }

  /** Starts and probes nothing any more. Processes are left to whoever removes the lab. */
  close(): void {
    this.#stop.abort();
    for (const container of [...this.#initContainers, ...this.#containers]) container.close();
  }

  /** Ends the containers, then the sandbox. */
  async stop(graceMs: number): Promise<void> {
    this.#stop.abort();
    await Promise.all([...this.#initContainers, ...this.#containers].map((container) => container.stop(graceMs)));
    await this.#leaveNetwork();
    await this.cgroup.remove();
  }

  logPath(container: string): string {
    const { namespace, name } = this.#deps.current().metadata;
    return join(this.#options.files.logs, `${namespace}_${name}_${container}.log`);
  }

  /** The environment of the first container, for programs that are run in the pod by hand. */
  environment(): Readonly<Record<string, string>> {
    const pod = this.#deps.current();
    const [first] = pod.spec.containers;
    return first === undefined ? {} : this.#commandOf(first).env;
  }

  readonly #report = (): void => {
    if (this.#stop.signal.aborted) return;
    this.#advance();
    const { node, current, onStatus } = this.#deps;
    const addresses =
      this.#sandbox === undefined
        ? []
        : current().spec.hostNetwork
          ? [node.addresses.v4, node.addresses.v6]
          : [this.#options.addresses.v4, this.#options.addresses.v6];
    const containers = current().spec.containers.map(
      (container, index): ContainerReport =>
        this.#containers[index]?.report ?? {
          name: container.name,
          state: { kind: "waiting", reason: this.#initialized ? "ContainerCreating" : "PodInitializing" },
          ready: false,
          restarts: 0,
        },
    );
    onStatus(
      statusOf(
        current(),
        {
          containers,
          initialized: this.#initialized,
          addresses,
          nodeAddresses: [node.addresses.v4, node.addresses.v6],
          startedAt: this.startedAt,
        },
        new Date(),
      ),
    );
  };

  /** Init containers run one after the other; the containers start when all of them ended well. */
  #advance(): void {
    if (this.#initialized || this.#containers.length === 0) return;
    const running = this.#initContainers[this.#nextInit - 1];
    if (running !== undefined && running.exitCode !== 0) return;
    const next = this.#initContainers[this.#nextInit];
    if (next !== undefined) {
      this.#nextInit++;
      next.start();
      return;
    }
    this.#initialized = true;
    for (const container of this.#containers) container.start();
  }

  /** No container starts before the plugins are content. */
  async #joinNetwork(pod: Pod): Promise<void> {
    if (pod.spec.hostNetwork) return;
    const { uid = "", name, namespace = "" } = pod.metadata;
    this.#network = {
      container: this.#container,
      netns: this.#sandboxOrThrow().netnsPath,
      pod: { uid, name, namespace },
      addresses: this.#options.addresses,
    };
    await this.#deps.node.networkPlugins.add(this.#network, this.#stop.signal);
    this.#stop.signal.throwIfAborted();
  }

  async #leaveNetwork(): Promise<void> {
    const network = this.#network;
    this.#network = undefined;
    if (network === undefined) return;
    await this.#deps.node.networkPlugins.delete(network).catch((error: unknown) => this.#deps.event(messageOf(error)));
  }

  #runnerOf(container: Container, restartPolicy: Pod["spec"]["restartPolicy"], onChange: () => void): ContainerRunner {
    const { event } = this.#deps;
    const sandbox = this.#sandboxOrThrow();
    return new ContainerRunner(
      {
        sandbox,
        cgroup: this.cgroup.child(container.name),
        command: () => this.#commandOf(container),
        probe: (probe, of) => this.#probe(probe, of),
        onChange,
        event,
      },
      { container, restartPolicy, logPath: this.logPath(container.name) },
    );
  }

  #sandboxOrThrow(): Sandbox {
    if (this.#sandbox === undefined) throw new Error("the pod has no sandbox yet");
    return this.#sandbox;
  }

  #commandOf(container: Container) {
    const { current, configMap } = this.#deps;
    return containerCommand(container, { pod: current(), configMap, path: this.#options.path });
  }

  async #probe(probe: Probe, container: Container): Promise<boolean> {
    const { node, current } = this.#deps;
    const sandbox = this.#sandboxOrThrow();
    return attemptProbe(probe, container, {
      address: current().status?.podIP ?? "",
      ask: (question) => node.prober.ask(question),
      run: async (argv, timeoutMs) => {
        const { env } = this.#commandOf(container);
        const place = this.cgroup.child(node.nextExecName());
        const signal = this.#stop.signal;
        return (await sandbox.run(place, argv, { env, timeoutMs, signal })).code;
      },
    });
  }

  async #makeSandbox(pod: Pod): Promise<Sandbox> {
    const { node, configMap } = this.#deps;
    const { files, addresses } = this.#options;
    const volumes = planVolumes(pod, files.volumes, configMap);
    mkdirSync(files.logs, { recursive: true });
    writeVolumes(volumes);
    const uid = pod.metadata.uid ?? "";
    const { hostNetwork } = pod.spec;
    return Sandbox.create(
      {
        what: `pod ${pod.metadata.namespace}/${pod.metadata.name}`,
        cgroup: this.cgroup.child("sandbox"),
        ...(hostNetwork ? { join: { pid: node.sandbox.pid, namespaces: ["net"] as const } } : {}),
        fresh: hostNetwork ? ["mount", "uts"] : ["net", "mount", "uts"],
        script: [
          `echo ${shellQuoted(pod.spec.hostname ?? pod.metadata.name)} > /proc/sys/kernel/hostname`,
          `mount --bind ${shellQuoted(files.hosts)} /etc/hosts`,
          `if [ -e /etc/resolv.conf ]; then mount --bind ${shellQuoted(files.resolver)} /etc/resolv.conf; fi`,
          volumes.script,
          ...(hostNetwork
            ? []
            : [podScript(node.sandbox.pid, node.index, `veth${uid.replaceAll("-", "").slice(0, 10)}`, addresses)]),
        ].join("\n"),
      },
      this.#stop.signal,
    );
  }
}
