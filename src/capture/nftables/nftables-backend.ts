/**
 * Capture by nftables rules inside the pod's netns, for kernels without the BPF features and for pods that BPF programs cannot see.
 * The rules redirect, conntrack remembers the destination. What this backend cannot do as well is in docs/capture.md.
 */
import { createHash } from "node:crypto";
import { closeSync } from "node:fs";
import { messageOf } from "../../lib/errors.ts";
import type { OriginalDestination, PodListener } from "../../model/sockets.ts";
import type { CaptureAddon } from "../addon.ts";
import type { CaptureBackend, CapturePorts, PodSubject } from "../backend.ts";
import type { Netns } from "../capture.ts";
import { deliveryRouting, familiesOf, socketMarks } from "../delivery-routing.ts";
import { pinName, uidOfPin } from "../ebpf/pins.ts";
import { CaptureError } from "../errors.ts";
import { allNetns } from "../netns-scan.ts";
import { otherMeshChain, type RulesetInput, removal, ruleset, signOfLife, tableName, uidOfListing } from "./ruleset.ts";

const heartbeatIntervalMs = 1000;
const failOpenSeconds = 3;

export interface NftablesBackendOptions {
  readonly pinDirectory: string;
  readonly ports: CapturePorts;
  readonly nodeAddresses: readonly string[];
}

interface Steered {
  readonly pod: PodSubject;
  readonly listeners: RulesetInput["listeners"];
}

/** Undefined when nftables can do what the backend asks of it here, else what it answered. */
export async function nftablesMissing(addon: CaptureAddon): Promise<string | undefined> {
  const listeners = ([4, 6] as const).flatMap((family) =>
    (["outbound", "inbound", "hbone"] as const).map((role, index) => ({ role, family, port: index + 1 })),
  );
  const probes = { sources: ["192.0.2.1", "2001:db8::1"], ports: [1] };
  const trial = { owner: "trial", uid: "trial", listeners, hbonePort: 2, marks: socketMarks, probes, failOpenAfter: 1 };
  try {
    await addon.nftTry(ruleset(trial));
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

export class NftablesBackend implements CaptureBackend {
  readonly kind = "nftables";
  readonly degraded = undefined;
  /** What comes from lo is the pod's own, so no stranger can be simulated inside. */
  readonly probesInbound = false;
  readonly #addon: CaptureAddon;
  readonly #options: NftablesBackendOptions;
  readonly #owner: string;
  readonly #steered = new Map<string, Steered>();
  /** Tables of earlier agents by netns inode; undefined until the first look. */
  #leftovers: Promise<Map<bigint, string>> | undefined;
  #heartbeat: NodeJS.Timeout | undefined;
  #beating: Promise<void> = Promise.resolve();

  constructor(addon: CaptureAddon, options: NftablesBackendOptions) {
    this.#addon = addon;
    this.#options = options;
    // Short, because a table's comment has room for 128 bytes.
    this.#owner = createHash("sha256").update(options.pinDirectory).digest("hex").slice(0, 12);
  }

  originalDestination(_netns: Netns): OriginalDestination {
    return { kind: "conntrack" };
  }

  elsewhere(_family: 4 | 6): { readonly port: number; readonly transparent: boolean } {
    return { port: 0, transparent: false };
  }

  async steer(pod: PodSubject, listeners: readonly PodListener[]): Promise<void> {
    const bound = listeners.map(({ role, family, fd }) => ({ role, family, port: this.#addon.localPort(fd) }));
    await this.#addon.addDeliveryRouting(pod.netns.fd, deliveryRouting(familiesOf(pod.addresses)));
    await this.#apply(pod, bound);
    this.#steered.set(pod.uid, { pod, listeners: bound });
    (await this.#leftBehind()).delete(pod.netns.ino);
    if (pod.failOpen) {
      this.#heartbeat ??= setInterval(() => this.#beat(), heartbeatIntervalMs).unref();
    }
  }

  /** Deleting a table costs the kernel a grace period of some milliseconds, so it is not done for a pod without one. */
  async #apply(pod: PodSubject, listeners: RulesetInput["listeners"]): Promise<void> {
    const exists = (await this.#listing(pod.netns.fd)) !== undefined;
    if (!exists) {
      await this.#refuseOtherMesh(pod);
    }
    const rules = this.#rulesOf(pod, listeners);
    await this.#addon.nft(pod.netns.fd, exists ? `${removal}\n${rules}` : rules);
  }

  /** Two sets of redirections in one netns would each take the other's connections, and nobody could say which mesh a pod is in. */
  async #refuseOtherMesh({ uid, netns }: PodSubject): Promise<void> {
    const chain = otherMeshChain(await this.#addon.nft(netns.fd, "list chains"));
    if (chain !== undefined) {
      throw new CaptureError(
        "MESH_OTHER_MESH",
        `pod ${uid} has chain ${chain} of another mesh in its netns; take the pod out of that mesh and restart it`,
      );
    }
  }

  #rulesOf(pod: PodSubject, listeners: RulesetInput["listeners"]): string {
    return ruleset({
      owner: this.#owner,
      uid: pinName(pod.uid),
      listeners,
      hbonePort: this.#options.ports.hbone,
      marks: socketMarks,
      probes: { sources: this.#options.nodeAddresses, ports: pod.probePorts ?? [] },
      failOpenAfter: pod.failOpen ? failOpenSeconds : undefined,
    });
  }

  #beat(): void {
    this.#beating = this.#beating.then(async () => {
      for (const { pod, listeners } of this.#steered.values()) {
        if (pod.failOpen) {
          await this.#renew(pod, listeners);
        }
      }
    });
  }

  async #renew(pod: PodSubject, listeners: RulesetInput["listeners"]): Promise<void> {
    try {
      await this.#addon.nft(pod.netns.fd, signOfLife(failOpenSeconds));
    } catch {
      // The elements expired after all, or the pod flushed its rules: put the whole table back.
      await this.#apply(pod, listeners).catch(() => {});
    }
  }

  async readdress(pod: PodSubject): Promise<void> {
    await this.#addon.addDeliveryRouting(pod.netns.fd, deliveryRouting(familiesOf(pod.addresses)));
    const known = this.#steered.get(pod.uid);
    if (known !== undefined) {
      this.#steered.set(pod.uid, { ...known, pod });
    }
  }

  async unsteer(pod: PodSubject): Promise<void> {
    this.#steered.delete(pod.uid);
    // A renewal under way would put the table back.
    await this.#beating;
    await this.#clear(pod.netns.fd);
  }

  async #clear(netnsFd: number): Promise<void> {
    if ((await this.#listing(netnsFd)) !== undefined) {
      await this.#addon.nft(netnsFd, removal);
    }
    await this.#addon.removeDeliveryRouting(netnsFd, deliveryRouting([4, 6]));
  }

  /** Nothing to do: deliveries are known by their mark, the kubelet by the node's addresses and the pod's probe ports. */
  async exempt(_cgroupPath: string, _kind: "kubelet" | "agent"): Promise<void> {}

  async verify(pod: PodSubject): Promise<void> {
    const listing = await this.#listing(pod.netns.fd);
    if (listing === undefined || uidOfListing(listing, this.#owner) !== pinName(pod.uid)) {
      throw new CaptureError(
        "MESH_PROBE_FAILED",
        `the rules of pod ${pod.uid} are gone; did something flush its ruleset?`,
      );
    }
  }

  async #listing(netnsFd: number): Promise<string | undefined> {
    try {
      return await this.#addon.nft(netnsFd, `list table ${tableName}`);
    } catch {
      return undefined;
    }
  }

  async evict(pod: PodSubject): Promise<void> {
    const leftovers = await this.#leftBehind();
    if (leftovers.has(pod.netns.ino)) {
      await this.#clear(pod.netns.fd);
      leftovers.delete(pod.netns.ino);
    }
  }

  async collectGarbage(keep: (uid: string, netnsIno: bigint) => boolean): Promise<readonly string[]> {
    const leftovers = await this.#leftBehind();
    const removed: string[] = [];
    for (const [ino, uid] of leftovers) {
      if (keep(uid, ino)) {
        continue;
      }
      leftovers.delete(ino);
      if (await this.#clearByInode(ino, uid)) {
        removed.push(uid);
      }
    }
    return removed;
  }

  /**
   * Tables of earlier agents. Every netns is looked into, once, at the start: the rules themselves say whose they are, so nothing
   * that could be lost is written down elsewhere.
   */
  #leftBehind(): Promise<Map<bigint, string>> {
    this.#leftovers ??= this.#findLeftovers();
    return this.#leftovers;
  }

  async #findLeftovers(): Promise<Map<bigint, string>> {
    const found = new Map<bigint, string>();
    for await (const { path } of allNetns()) {
      await this.#visit(path, async (netns) => {
        const uid = uidOfListing((await this.#listing(netns.fd)) ?? "", this.#owner);
        if (uid !== undefined) {
          found.set(netns.ino, uidOfPin(uid));
        }
      });
    }
    return found;
  }

  /** False if the netns or the table went by itself meanwhile. */
  async #clearByInode(ino: bigint, uid: string): Promise<boolean> {
    let cleared = false;
    for await (const sighting of allNetns()) {
      if (sighting.ino === ino) {
        await this.#visit(sighting.path, async (netns) => {
          if (uidOfListing((await this.#listing(netns.fd)) ?? "", this.#owner) === pinName(uid)) {
            await this.#clear(netns.fd);
            cleared = true;
          }
        });
        break;
      }
    }
    return cleared;
  }

  async #visit(path: string, task: (netns: Netns) => Promise<void>): Promise<void> {
    let netns: Netns;
    try {
      netns = this.#addon.netnsOpen(path);
    } catch {
      // It ended between the look and the visit.
      return;
    }
    try {
      await task(netns);
    } finally {
      closeSync(netns.fd);
    }
  }

  stats(): Readonly<Record<string, number>> {
    return {};
  }

  onEvent(): () => void {
    return () => {};
  }

  async close(): Promise<void> {
    clearInterval(this.#heartbeat);
    this.#heartbeat = undefined;
    this.#steered.clear();
    await this.#beating;
  }
}
