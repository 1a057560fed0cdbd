/** The pods that Istio's CNI agent handed over, each with its netns held by descriptor, and what the mesh knows of them beside. */
import { closeSync } from "node:fs";
import type { CaptureAddon } from "../../capture/addon.ts";
import type { Netns } from "../../capture/capture.ts";
import { formatIdentity } from "../../identity/spiffe.ts";
import { MeshError } from "../../lib/errors.ts";
import type { MeshView } from "../../model/mesh.ts";
import { type LocalPod, podWorkloadUid } from "../../model/workload.ts";
import type { FoundNetns } from "../pod-capture.ts";

export interface HandedPod {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

interface Held {
  readonly pod: HandedPod;
  readonly netns: Netns;
  /** What the netns held when it came, without those that every netns has. */
  readonly addresses: readonly string[];
}

export interface HandedPodsDeps {
  readonly addon: Pick<CaptureAddon, "netnsOpen" | "netnsAddresses">;
}

export class HandedPods {
  readonly #addon: HandedPodsDeps["addon"];
  readonly #held = new Map<string, Held>();

  constructor({ addon }: HandedPodsDeps) {
    this.#addon = addon;
  }

  /** Takes the descriptor over, whatever comes of it. The same pod with the same netns changes nothing. */
  async add(pod: HandedPod, descriptor: number): Promise<void> {
    let netns: Netns;
    try {
      netns = this.#addon.netnsOpen(`/proc/self/fd/${descriptor}`);
    } finally {
      closeSync(descriptor);
    }
    const before = this.#held.get(pod.uid);
    if (before !== undefined && before.netns.ino === netns.ino && before.netns.dev === netns.dev) {
      closeSync(netns.fd);
      this.#held.set(pod.uid, { ...before, pod });
      return;
    }
    const found = await this.#addon.netnsAddresses(netns.fd);
    const addresses = found.map(({ address }) => address).filter((address) => !isLocal(address));
    if (addresses.length === 0) {
      closeSync(netns.fd);
      throw new MeshError("MESH_WRONG_NETNS", `the netns handed over for pod ${pod.uid} has no address`);
    }
    this.#close(pod.uid);
    this.#held.set(pod.uid, { pod, netns, addresses });
  }

  /** False for a pod that was not there. */
  delete(uid: string): boolean {
    return this.#close(uid);
  }

  has(uid: string): boolean {
    return this.#held.has(uid);
  }

  uids(): string[] {
    return [...this.#held.keys()];
  }

  /**
   * As enrolment wants them. Who a pod is says the CNI agent, which has it from the API server; its addresses are those that the mesh knows it
   * by, so that a netns with none of them is refused, and until the mesh knows the pod those of the netns.
   */
  localPods(view: Pick<MeshView, "settings" | "workload">): LocalPod[] {
    const { trustDomain, cluster } = view.settings;
    return Array.from(this.#held.values(), ({ pod, addresses }) => {
      const workload = podWorkloadUid(cluster, pod.namespace, pod.name);
      const known = view.workload(workload)?.addresses ?? [];
      return {
        ...pod,
        workload,
        identity: formatIdentity({ ...pod, trustDomain }),
        addresses: known.length > 0 ? known : addresses,
        failOpen: false,
        probePorts: [],
      };
    });
  }

  findNetns(uid: string): FoundNetns {
    const held = this.#held.get(uid);
    if (held === undefined) throw new MeshError("MESH_NETNS_NOT_FOUND", `pod ${uid} was not handed over`);
    const { fd, dev, ino } = held.netns;
    return {
      path: `/proc/self/fd/${fd}`,
      dev,
      ino,
      stillHeld: async () => this.#held.get(uid)?.netns.ino === ino,
      // It stays open until the pod is taken back.
      close: () => {},
    };
  }

  close(): void {
    for (const uid of this.uids()) this.#close(uid);
  }

  #close(uid: string): boolean {
    const held = this.#held.get(uid);
    if (held === undefined) return false;
    closeSync(held.netns.fd);
    return this.#held.delete(uid);
  }
}

/** Addresses that say nothing about whose netns it is. */
function isLocal(address: string): boolean {
  return (
    address.startsWith("127.") || address === "::1" || address.startsWith("fe80:") || address.startsWith("169.254.")
  );
}
