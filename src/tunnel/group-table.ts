/**
 * Tunnel groups by what they lead to. The engine pools per group; the driver only has to let go of groups whose peer is not what it
 * was (gone, another identity, no longer enrolled), and of those that nobody has used for long. A change of the mesh elsewhere must
 * not cost a pool.
 */
import { formatHostPort } from "../lib/host-port.ts";
import type { SocketAddress } from "../model/address.ts";
import { equivalentIdentities, type Identity } from "../model/identity.ts";
import type { MeshView } from "../model/mesh.ts";
import type { Engine, GroupHandle, PodHandle } from "./engine.ts";

interface Group {
  readonly handle: GroupHandle;
  readonly pod: PodHandle;
  readonly peer: SocketAddress;
  /** Identities that its peer may prove: one, and what it is called in the mesh's other trust domains. */
  readonly expected: readonly Identity[];
  /** Epoch of the last decision that named it. */
  usedIn: number;
  usedAt: number;
}

export class GroupTable {
  readonly #engine: Engine;
  readonly #groups = new Map<string, Group>();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  get size(): number {
    return this.#groups.size;
  }

  /** The group's handle, made on first use. `now` is any clock in milliseconds. */
  handle(pod: PodHandle, peer: SocketAddress, expected: readonly Identity[], epoch: number, now: number): GroupHandle {
    // In any order: which of a mesh's names is its own and which an alias makes no other peer.
    const key = `${pod} ${formatHostPort(peer.address, peer.port)} ${expected.toSorted().join(" ")}`;
    let group = this.#groups.get(key);
    if (group === undefined) {
      const handle = this.#engine.group({ pod, peer, expectedIdentities: expected });
      group = { handle, pod, peer, expected, usedIn: epoch, usedAt: now };
      this.#groups.set(key, group);
    }
    group.usedIn = epoch;
    group.usedAt = now;
    return group.handle;
  }

  /**
   * Lets go of groups that would take a peer for what it no longer is. One that expects less than it might (the mesh has got another name)
   * is right about whom it takes: whoever waits in it goes on, and it ends when it is idle.
   */
  prune(view: MeshView): void {
    this.#release(({ peer, expected }) => {
      const workload = view.workloadByAddress(peer.address);
      if (workload?.tunnel !== "hbone") return true;
      const right = new Set(equivalentIdentities(workload.identity, view.settings));
      return !expected.every((identity) => right.has(identity));
    });
  }

  /**
   * Lets go of groups without tunnels that no decision has named since `before`. Only with decisions of an older epoch: one of
   * this epoch may be remembered by the engine and name the group any time.
   */
  releaseIdle(withTunnels: ReadonlySet<GroupHandle>, epoch: number, before: number): void {
    this.#release(({ handle, usedIn, usedAt }) => usedIn < epoch && usedAt < before && !withTunnels.has(handle));
  }

  releasePod(pod: PodHandle): void {
    this.#release((group) => group.pod === pod);
  }

  #release(unwanted: (group: Group) => boolean): void {
    for (const [key, group] of this.#groups) {
      if (!unwanted(group)) continue;
      this.#groups.delete(key);
      this.#engine.releaseGroup(group.handle);
    }
  }
}
