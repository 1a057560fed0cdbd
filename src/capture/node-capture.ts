/** Capture on one node: which pods are enrolled, in which netns, with which backend. The kernel side is in the backends. */
import { closeSync } from "node:fs";
import { isAbsolute, relative } from "node:path";
import type { PodListener, SocketOps } from "../model/sockets.ts";
import type { CaptureAddon, ListenOptions } from "./addon.ts";
import type { CaptureBackend, CapturePorts, PodSubject } from "./backend.ts";
import type {
  BackendKind,
  Capture,
  CapturedPod,
  CaptureEvent,
  CaptureRequest,
  KernelSupport,
  Netns,
} from "./capture.ts";
import { familiesOf, socketMarks } from "./delivery-routing.ts";
import { CaptureError } from "./errors.ts";
import { KeyedQueue } from "./keyed-queue.ts";
import type { SelfProbe } from "./self-probe.ts";

const roles = ["outbound", "inbound", "hbone"] as const;
/** Connections that may wait for the agent to accept them; the kernel caps it at net.core.somaxconn. */
const backlog = 4096;

export interface NodeCaptureDeps {
  readonly addon: CaptureAddon;
  /** Usable ones, the preferred first. */
  readonly backends: readonly CaptureBackend[];
  /** Not used any more, but earlier agents may have left something of theirs. */
  readonly retired: readonly CaptureBackend[];
  readonly selfProbe: SelfProbe;
  readonly support: KernelSupport;
  /** The agent's own netns: never a pod's. */
  readonly own: Netns;
}

export interface NodeCaptureOptions {
  readonly ports: CapturePorts;
  readonly podsCgroup: string;
}

interface Enrolled {
  readonly pod: PodSubject;
  readonly backend: CaptureBackend;
}

export class NodeCapture implements Capture {
  readonly support: KernelSupport;
  readonly sockets: SocketOps;
  readonly #deps: NodeCaptureDeps;
  readonly #options: NodeCaptureOptions;
  readonly #enrolled = new Map<string, Enrolled>();
  readonly #queue = new KeyedQueue();
  #closed = false;

  constructor(deps: NodeCaptureDeps, options: NodeCaptureOptions) {
    this.support = deps.support;
    this.sockets = deps.addon;
    this.#deps = deps;
    this.#options = options;
  }

  enrol(request: CaptureRequest, signal: AbortSignal): Promise<CapturedPod> {
    return this.#queue.run(request.uid, async () => {
      signal.throwIfAborted();
      const backend = this.#backend(request);
      const netns = await this.#openVerified(request);
      const known = this.#enrolled.get(request.uid);
      const moved = known !== undefined && (known.pod.netns.ino !== netns.ino || known.backend !== backend);
      try {
        this.#refuseSharing(request.uid, netns);
        if (moved) {
          await this.#forget(known);
        }
        return await this.#capture(request, netns, backend, signal);
      } catch (error) {
        closeSync(netns.fd);
        throw error;
      }
    });
  }

  #backend(request: CaptureRequest): CaptureBackend {
    const { backends, support } = this.#deps;
    const backend = backends.find(({ kind }) => request.backend === undefined || kind === request.backend);
    if (backend === undefined) {
      const missing = support.backends[request.backend ?? "ebpf"].missing.join("; ");
      throw new CaptureError("MESH_BACKEND_UNUSABLE", `${request.backend} capture is not usable here: ${missing}`);
    }
    return backend;
  }

  async #openVerified(request: CaptureRequest): Promise<Netns> {
    const { addon, own } = this.#deps;
    const netns = addon.netnsOpen(request.netnsPath);
    try {
      if (netns.ino === own.ino && netns.dev === own.dev) {
        throw new CaptureError(
          "MESH_WRONG_NETNS",
          `${request.netnsPath} is the node's own netns, not pod ${request.uid}'s`,
        );
      }
      const held = await addon.netnsAddresses(netns.fd);
      if (!held.some(({ address }) => request.addresses.includes(address))) {
        throw new CaptureError(
          "MESH_WRONG_NETNS",
          `${request.netnsPath} holds none of ${request.addresses.join(", ")}, so it is not the netns of pod ${request.uid}`,
        );
      }
      return netns;
    } catch (error) {
      closeSync(netns.fd);
      throw error;
    }
  }

  #refuseSharing(uid: string, netns: Netns): void {
    for (const { pod } of this.#enrolled.values()) {
      if (pod.uid !== uid && pod.netns.ino === netns.ino && pod.netns.dev === netns.dev) {
        throw new CaptureError("MESH_WRONG_NETNS", `the netns given for pod ${uid} is enrolled as pod ${pod.uid}'s`);
      }
    }
  }

  async #capture(
    request: CaptureRequest,
    netns: Netns,
    backend: CaptureBackend,
    signal: AbortSignal,
  ): Promise<CapturedPod> {
    const pod: PodSubject = {
      uid: request.uid,
      netns,
      addresses: request.addresses,
      failOpen: request.failOpen,
      probePorts: request.probePorts,
    };
    const listeners: PodListener[] = [];
    const known = this.#enrolled.get(request.uid);
    try {
      for (const family of familiesOf(request.addresses)) {
        for (const role of roles) {
          signal.throwIfAborted();
          listeners.push({ role, family, fd: await this.#listen(netns, family, role, backend) });
        }
      }
      signal.throwIfAborted();
      for (const other of [...this.#deps.backends, ...this.#deps.retired]) {
        if (other !== backend && known === undefined) {
          await other.evict(pod);
        }
      }
      await backend.steer(pod, listeners);
    } catch (error) {
      for (const listener of listeners) {
        closeSync(listener.fd);
      }
      if (known === undefined) {
        await backend.unsteer(pod);
      }
      throw error;
    }
    this.#enrolled.set(request.uid, { pod, backend });
    if (known !== undefined) {
      closeSync(known.pod.netns.fd);
    }
    return {
      uid: pod.uid,
      backend: backend.kind,
      netns,
      addresses: pod.addresses,
      listeners,
      originalDestination: backend.originalDestination(netns),
      marks: socketMarks,
    };
  }

  async #listen(netns: Netns, family: 4 | 6, role: (typeof roles)[number], backend: CaptureBackend): Promise<number> {
    const { addon } = this.#deps;
    const options: ListenOptions = {
      family,
      port: this.#options.ports[role],
      backlog,
      transparent: false,
      // Nobody else may bind what we hold.
      reusePort: false,
    };
    try {
      return await addon.listen(netns.fd, options);
    } catch (error) {
      if (!(error instanceof CaptureError && error.code === "MESH_PORT_TAKEN")) {
        throw error;
      }
      // Held by a predecessor that drains, or by the pod: neither keeps the pod out of the mesh.
      return addon.listen(netns.fd, { ...options, ...backend.elsewhere(family) });
    }
  }

  probe(uid: string, signal: AbortSignal): Promise<void> {
    return this.#queue.run(uid, async () => {
      const { pod, backend } = this.#known(uid);
      await backend.verify(pod);
      const directions = backend.probesInbound ? (["outbound", "inbound"] as const) : (["outbound"] as const);
      await this.#deps.selfProbe.run(pod, directions, signal);
    });
  }

  update(uid: string, addresses: readonly string[]): Promise<void> {
    return this.#queue.run(uid, async () => {
      const { pod, backend } = this.#known(uid);
      const changed = { ...pod, addresses };
      await backend.readdress(changed);
      this.#enrolled.set(uid, { pod: changed, backend });
    });
  }

  release(uid: string): Promise<void> {
    return this.#queue.run(uid, async () => {
      const known = this.#enrolled.get(uid);
      if (known !== undefined) {
        await this.#forget(known);
      }
    });
  }

  async #forget({ pod, backend }: Enrolled): Promise<void> {
    await backend.unsteer(pod);
    this.#enrolled.delete(pod.uid);
    closeSync(pod.netns.fd);
  }

  #known(uid: string): Enrolled {
    const known = this.#enrolled.get(uid);
    if (known === undefined) {
      throw new CaptureError("MESH_NOT_CAPTURED", `pod ${uid} is not enrolled`);
    }
    return known;
  }

  async exempt(cgroupPath: string, kind: "kubelet" | "agent"): Promise<void> {
    const below = relative(cgroupPath, this.#options.podsCgroup);
    if (!below.startsWith("..") && !isAbsolute(below)) {
      throw new CaptureError(
        "MESH_CGROUP_UNUSABLE",
        `${cgroupPath} holds the pods' cgroup, so exempting it would exempt the pods; run the ${kind} in a cgroup of its own`,
      );
    }
    for (const backend of this.#deps.backends) {
      await backend.exempt(cgroupPath, kind);
    }
  }

  async collectGarbage(liveUids: ReadonlySet<string>): Promise<readonly string[]> {
    const removed = new Set<string>();
    for (const backend of [...this.#deps.backends, ...this.#deps.retired]) {
      const keep = (uid: string, netnsIno: bigint): boolean => {
        const known = this.#enrolled.get(uid);
        return known === undefined ? liveUids.has(uid) : known.pod.netns.ino === netnsIno && known.backend === backend;
      };
      for (const uid of await backend.collectGarbage(keep)) {
        removed.add(uid);
      }
    }
    return [...removed];
  }

  stats(): Readonly<Record<string, number>> {
    return Object.assign({}, ...this.#deps.backends.map((backend) => backend.stats()));
  }

  onEvent(listener: (event: CaptureEvent) => void): () => void {
    const stops = this.#deps.backends.map((backend) =>
      backend.onEvent((event) => {
        // To the eBPF programs a pod captured by nftables is one that nobody enrolled.
        if (event.kind !== "unknown-netns-connected" || !this.#isEnrolled(event.cookie)) {
          listener(event);
        }
      }),
    );
    return () => {
      for (const stop of stops) {
        stop();
      }
    };
  }

  #isEnrolled(cookie: bigint): boolean {
    for (const { pod } of this.#enrolled.values()) {
      if (pod.netns.cookie === cookie) {
        return true;
      }
    }
    return false;
  }

  /** Backends in use, the preferred first. */
  get backends(): readonly BackendKind[] {
    return this.#deps.backends.map(({ kind }) => kind);
  }

  async close(): Promise<void> {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    await this.#queue.idle();
    for (const { pod } of this.#enrolled.values()) {
      closeSync(pod.netns.fd);
    }
    this.#enrolled.clear();
    for (const backend of [...this.#deps.backends, ...this.#deps.retired]) {
      await backend.close();
    }
    await this.#deps.selfProbe.close();
    closeSync(this.#deps.own.fd);
  }
}
