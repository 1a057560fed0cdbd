/**
 * Capture of pods whose traffic somebody else redirects: Istio's CNI agent puts its rules into the pod's netns (REDIRECT to 15001 and 15006,
 * packets marked 0x539 left alone, connections marked so answered locally) and hands the netns over. What is left is to listen there, with
 * sockets that carry the mark, and to prove the path by probes. Nothing is steered, so there is nothing to undo.
 */
import { closeSync } from "node:fs";
import { release } from "node:os";
import type { PodListener, SocketMarks, SocketOps } from "../model/sockets.ts";
import type { CaptureAddon } from "./addon.ts";
import type { CapturePorts } from "./backend.ts";
import type { Capture, CapturedPod, CaptureRequest, KernelSupport, Netns } from "./capture.ts";
import { familiesOf } from "./delivery-routing.ts";
import { CaptureError } from "./errors.ts";
import { KeyedQueue } from "./keyed-queue.ts";
import type { SelfProbe } from "./self-probe.ts";

/** Istio's rules let packets with this mark go where they want, in and out. */
const istioMark = 0x539;
const marks: SocketMarks = { leave: istioMark, deliver: istioMark };
const roles = ["outbound", "inbound", "hbone"] as const;
const backlog = 4096;

export interface ExternalCaptureDeps {
  readonly addon: CaptureAddon;
  readonly selfProbe: Pick<SelfProbe, "run" | "close">;
}

interface Held {
  readonly netns: Netns;
  readonly addresses: readonly string[];
}

export class ExternalCapture implements Capture {
  readonly support: KernelSupport;
  readonly sockets: SocketOps;
  readonly #deps: ExternalCaptureDeps;
  readonly #ports: CapturePorts;
  readonly #held = new Map<string, Held>();
  readonly #queue = new KeyedQueue();

  constructor(
    deps: ExternalCaptureDeps,
    options: { readonly ports: CapturePorts; readonly cgroup2: string | undefined },
  ) {
    const unused = { usable: false, missing: ["pods are redirected by another agent"] };
    this.support = { release: release(), cgroup2: options.cgroup2, backends: { ebpf: unused, nftables: unused } };
    this.sockets = deps.addon;
    this.#deps = deps;
    this.#ports = options.ports;
  }

  enrol(request: CaptureRequest, signal: AbortSignal): Promise<CapturedPod> {
    const { uid, netnsPath, addresses } = request;
    return this.#queue.run(uid, async () => {
      signal.throwIfAborted();
      const netns = await this.#openVerified(request);
      const listeners: PodListener[] = [];
      try {
        for (const family of familiesOf(addresses)) {
          for (const role of roles) listeners.push({ role, family, fd: await this.#listen(netns, family, role) });
        }
        signal.throwIfAborted();
      } catch (error) {
        for (const { fd } of listeners) closeSync(fd);
        closeSync(netns.fd);
        throw new CaptureError("MESH_LISTEN_FAILED", `cannot listen in ${netnsPath} for pod ${uid}`, { cause: error });
      }
      this.#forget(uid);
      this.#held.set(uid, { netns, addresses });
      return {
        uid,
        backend: "external",
        netns,
        addresses,
        listeners,
        originalDestination: { kind: "conntrack" },
        marks,
      };
    });
  }

  /** Through the rules of whoever redirects, as a process of the pod would connect. */
  probe(uid: string, signal: AbortSignal): Promise<void> {
    return this.#queue.run(uid, async () => {
      const { netns, addresses } = this.#known(uid);
      const pod = { uid, netns, addresses, failOpen: false, probePorts: undefined };
      await this.#deps.selfProbe.run(pod, ["outbound"], signal);
    });
  }

  update(uid: string, addresses: readonly string[]): Promise<void> {
    return this.#queue.run(uid, async () => void this.#held.set(uid, { ...this.#known(uid), addresses }));
  }

  release(uid: string): Promise<void> {
    return this.#queue.run(uid, async () => this.#forget(uid));
  }

  /** The kubelet's probes and our deliveries pass by rules that are not ours. */
  async exempt(): Promise<void> {}

  async collectGarbage(): Promise<readonly string[]> {
    return [];
  }

  stats(): Readonly<Record<string, number>> {
    return {};
  }

  onEvent(): () => void {
    return () => {};
  }

  async close(): Promise<void> {
    await this.#queue.idle();
    for (const { netns } of this.#held.values()) closeSync(netns.fd);
    this.#held.clear();
    await this.#deps.selfProbe.close();
  }

  #forget(uid: string): void {
    const held = this.#held.get(uid);
    this.#held.delete(uid);
    if (held !== undefined) closeSync(held.netns.fd);
  }

  #known(uid: string): Held {
    const held = this.#held.get(uid);
    if (held === undefined) throw new CaptureError("MESH_NOT_CAPTURED", `pod ${uid} is not enrolled`);
    return held;
  }

  async #openVerified({ uid, netnsPath, addresses }: CaptureRequest): Promise<Netns> {
    const { addon } = this.#deps;
    const netns = addon.netnsOpen(netnsPath);
    const held = await addon.netnsAddresses(netns.fd);
    if (held.some(({ address }) => addresses.includes(address))) return netns;
    closeSync(netns.fd);
    throw new CaptureError(
      "MESH_WRONG_NETNS",
      `${netnsPath} holds none of ${addresses.join(", ")}, so it is not the netns of pod ${uid}`,
    );
  }

  #listen(netns: Netns, family: 4 | 6, role: (typeof roles)[number]): Promise<number> {
    const port = this.#ports[role];
    // Shared with a predecessor that drains: rules lead to the port and know nothing of whose socket it is.
    return this.#deps.addon.listen(netns.fd, { family, port, backlog, transparent: false, reusePort: true });
  }
}
