/**
 * Capture by BPF programs (`bpf/`): connect and sockops programs on the pods' cgroup for what leaves, an sk_lookup program per pod
 * netns for what comes. Programs, links and maps are pinned below `<pin directory>/v1`, so a crash or an upgrade of the agent
 * changes nothing for the kernel: new connections are refused until a successor has put its listeners into the map.
 */
import { closeSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { OriginalDestination, PodListener } from "../../model/sockets.ts";
import type { CaptureAddon, Steering } from "../addon.ts";
import type { CaptureBackend, CapturePorts, PodSubject } from "../backend.ts";
import type { CaptureEvent, Netns } from "../capture.ts";
import { deliveryRouting, familiesOf } from "../delivery-routing.ts";
import { CaptureError } from "../errors.ts";
import { findNetnsByInode } from "../netns-scan.ts";
import { PodPins } from "./pins.ts";

/** Takes away what an earlier agent pinned and with it all its capture, for an agent that shall not capture by eBPF any more. */
export async function removeEbpfPins(pinDirectory: string): Promise<void> {
  await rm(join(pinDirectory, pinVersion), { recursive: true, force: true });
}

/** Grows when a map changes its layout: old and new agents then run side by side until the old one has drained. */
const pinVersion = "v1";

const heartbeatIntervalMs = 1000;
/** Pods that fail open do so after this much silence of the agent. */
const heartbeatTimeoutMs = 3 * heartbeatIntervalMs;

export interface EbpfBackendOptions {
  readonly pinDirectory: string;
  readonly podsCgroup: string;
  readonly ports: CapturePorts;
}

export class EbpfBackend implements CaptureBackend {
  readonly kind = "ebpf";
  readonly probesInbound = true;
  readonly #addon: CaptureAddon;
  readonly #steering: Steering;
  readonly #ports: CapturePorts;
  readonly #pins: PodPins;
  readonly #listeners = new Set<(event: CaptureEvent) => void>();
  readonly #heartbeat: NodeJS.Timeout;
  /** Netns cookies that this process steers, from the first step of it to the last of its undoing. */
  readonly #own = new Set<bigint>();
  #closed = false;

  private constructor(addon: CaptureAddon, steering: Steering, pins: PodPins, ports: CapturePorts) {
    this.#addon = addon;
    this.#steering = steering;
    this.#pins = pins;
    this.#ports = ports;
    this.#heartbeat = setInterval(() => steering.heartbeat(), heartbeatIntervalMs).unref();
    steering.onEvent((event) => {
      for (const listener of this.#listeners) {
        listener(event);
      }
    });
  }

  /** Loads the programs, or puts them into the links that an earlier agent pinned. */
  static async open(addon: CaptureAddon, options: EbpfBackendOptions, host: Netns): Promise<EbpfBackend> {
    const directory = join(options.pinDirectory, pinVersion);
    const steering = await addon.openSteering({ directory, podsCgroup: options.podsCgroup });
    steering.configure({ hostNetnsCookie: host.cookie, heartbeatTimeoutMs });
    return new EbpfBackend(addon, steering, new PodPins(directory), options.ports);
  }

  get degraded(): string | undefined {
    const reason = this.#steering.guardFailure;
    return reason === undefined ? undefined : `a guard against raw sockets: ${reason}`;
  }

  originalDestination(netns: Netns): OriginalDestination {
    return { kind: "map", mapFd: this.#steering.originalDestinationMapFd, netnsCookie: netns.cookie };
  }

  /** An address that no packet is routed to (RFC 5737, RFC 3849): sk_lookup alone brings connections there. */
  elsewhere(family: 4 | 6): { readonly address: string; readonly port: number; readonly transparent: boolean } {
    return { address: family === 4 ? "192.0.2.1" : "2001:db8::1", port: 0, transparent: true };
  }

  async steer(pod: PodSubject, listeners: readonly PodListener[]): Promise<void> {
    const { netns } = pod;
    this.#own.add(netns.cookie);
    await this.#removeStalePins(pod);
    await this.#addon.addDeliveryRouting(netns.fd, deliveryRouting(familiesOf(pod.addresses)));
    // Listeners first: from the attachment on packets look for them.
    for (const listener of listeners) {
      this.#steering.setListener(netns.cookie, listener);
    }
    const pin = await this.#pins.prepare(pod.uid, netns.cookie);
    await this.#steering.attachPod(netns.fd, {
      pin: pin.path,
      netnsIno: netns.ino,
      cookie: netns.cookie,
      outboundPort: this.#ports.outbound,
      hbonePort: this.#ports.hbone,
    });
    this.#setPod(pod);
  }

  async readdress(pod: PodSubject): Promise<void> {
    await this.#addon.addDeliveryRouting(pod.netns.fd, deliveryRouting(familiesOf(pod.addresses)));
    this.#setPod(pod);
  }

  #setPod(pod: PodSubject): void {
    this.#steering.setPod(pod.netns.cookie, {
      addresses: pod.addresses,
      outboundPort: this.#ports.outbound,
      failOpen: pod.failOpen,
      ...(pod.probePorts === undefined ? {} : { probePorts: pod.probePorts }),
    });
  }

  async unsteer(pod: PodSubject): Promise<void> {
    // At once and before the listeners go: a connection that comes in between finds either them or the application's own.
    for (const pin of await this.#pins.of(pod.uid)) {
      this.#steering.detachPod(pin.path);
    }
    this.#steering.deletePod(pod.netns.cookie);
    await this.#pins.removeAll(pod.uid);
    this.#own.delete(pod.netns.cookie);
    await this.#addon.removeDeliveryRouting(pod.netns.fd, deliveryRouting([4, 6]));
  }

  async evict(pod: PodSubject): Promise<void> {
    for (const pin of await this.#pins.of(pod.uid)) {
      this.#steering.detachPod(pin.path);
      this.#steering.deletePod(pin.cookie);
      await this.#pins.remove(pin);
    }
  }

  /** A pod of this uid lived in another netns before: that netns is gone or no longer this pod's. */
  async #removeStalePins(pod: PodSubject): Promise<void> {
    for (const pin of await this.#pins.of(pod.uid)) {
      if (pin.cookie !== pod.netns.cookie) {
        this.#steering.detachPod(pin.path);
        this.#steering.deletePod(pin.cookie);
        await this.#pins.remove(pin);
      }
    }
  }

  /** Someone with the right to may have removed pins or links; the pod itself cannot. */
  async verify(pod: PodSubject): Promise<void> {
    const lost = this.#steering.lostLinks();
    if (lost.length > 0) {
      this.#steering.repair();
      throw new CaptureError(
        "MESH_PROBE_FAILED",
        `somebody took programs away from the pods' cgroup (${lost.join(", ")}); they are attached again`,
      );
    }
    const pin = (await this.#pins.of(pod.uid)).find(({ cookie }) => cookie === pod.netns.cookie);
    if (pin === undefined || this.#steering.pinnedNetnsInode(pin.path) !== pod.netns.ino) {
      throw new CaptureError(
        "MESH_PROBE_FAILED",
        `the pinned sk_lookup program of pod ${pod.uid} is gone; enrol it again`,
      );
    }
  }

  async exempt(cgroupPath: string, kind: "kubelet" | "agent"): Promise<void> {
    this.#steering.exempt(cgroupPath, kind);
  }

  async collectGarbage(keep: (uid: string, netnsIno: bigint) => boolean): Promise<readonly string[]> {
    const removed: string[] = [];
    const kept = new Set<bigint>();
    for (const pin of await this.#pins.list()) {
      // Others are enrolled and released meanwhile: what this process steers is not garbage, wherever it is on its way.
      if (this.#own.has(pin.cookie)) {
        continue;
      }
      // 0: the netns is gone, and with it everything that the link was attached to.
      const netnsIno = this.#steering.pinnedNetnsInode(pin.path);
      if (netnsIno !== 0n && keep(pin.uid, netnsIno)) {
        kept.add(pin.cookie);
        continue;
      }
      this.#steering.detachPod(pin.path);
      this.#steering.deletePod(pin.cookie);
      await this.#pins.remove(pin);
      await this.#restoreRouting(netnsIno);
      removed.push(pin.uid);
    }
    await this.#pins.removeEmptyFolders();
    for (const cookie of this.#steering.knownCookies()) {
      if (!kept.has(cookie) && !this.#own.has(cookie)) {
        this.#steering.deletePod(cookie);
      }
    }
    return removed;
  }

  async #restoreRouting(netnsIno: bigint): Promise<void> {
    const netns = netnsIno === 0n ? undefined : await findNetnsByInode(this.#addon, netnsIno);
    if (netns === undefined) {
      return;
    }
    try {
      await this.#addon.removeDeliveryRouting(netns.fd, deliveryRouting([4, 6]));
    } finally {
      closeSync(netns.fd);
    }
  }

  stats(): Readonly<Record<string, number>> {
    return this.#closed ? {} : this.#steering.counters();
  }

  onEvent(listener: (event: CaptureEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    clearInterval(this.#heartbeat);
    this.#listeners.clear();
    this.#steering.close();
  }
}
