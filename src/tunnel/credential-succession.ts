/**
 * What a pod's TLS ends prove while its identity changes, as it does when a mesh moves to another trust domain: the old credential until
 * the new identity has its certificate, so that no handshake waits for it, then the new one; tunnels of the old drain in the engine. Peers
 * take both names for as long as one is an alias of the other. Not without end: a pod must not go by a name that it has lost.
 */
import type { Identity } from "../model/identity.ts";
import type { CredentialTable } from "./credential-table.ts";
import type { Engine, PodHandle } from "./engine.ts";

interface Change {
  /** Of the credential that the engine has. */
  readonly from: Identity;
  readonly to: Identity;
  readonly timer: NodeJS.Timeout;
  readonly swap: () => void;
}

export interface CredentialSuccessionDeps {
  readonly engine: Pick<Engine, "updatePod">;
  readonly credentials: CredentialTable;
}

export interface CredentialSuccessionOptions {
  /** How long a pod may prove the identity that it had, milliseconds. */
  readonly patience: number;
}

export class CredentialSuccession {
  readonly #engine: Pick<Engine, "updatePod">;
  readonly #credentials: CredentialTable;
  readonly #patience: number;
  readonly #changes = new Map<PodHandle, Change>();

  constructor(deps: CredentialSuccessionDeps, options: CredentialSuccessionOptions) {
    this.#engine = deps.engine;
    this.#credentials = deps.credentials;
    this.#patience = options.patience;
  }

  /** The pod, whose credential was acquired as `from` or by a change before, is `to` from now on. */
  change(pod: PodHandle, from: Identity, to: Identity): void {
    const proven = this.settle(pod, from);
    if (to === proven) return;
    const credential = this.#credentials.acquire(to);
    const swap = () => {
      this.#changes.delete(pod);
      this.#engine.updatePod(pod, { credential });
      this.#credentials.release(proven);
    };
    // Without a certificate of either there is nothing to keep.
    if (this.#credentials.hasCertificate(to) || !this.#credentials.hasCertificate(proven)) {
      swap();
      return;
    }
    const timer = setTimeout(swap, this.#patience);
    timer.unref();
    this.#changes.set(pod, { from: proven, to, timer, swap });
  }

  /** Call when the identity has got a certificate. */
  arrived(identity: Identity): void {
    for (const { to, timer, swap } of this.#changes.values()) {
      if (to !== identity) continue;
      clearTimeout(timer);
      swap();
    }
  }

  /** Gives up the change that is under way, if any, and returns what the pod proves; `identity` if there is none. */
  settle(pod: PodHandle, identity: Identity): Identity {
    const change = this.#changes.get(pod);
    if (change === undefined) return identity;
    clearTimeout(change.timer);
    this.#changes.delete(pod);
    this.#credentials.release(change.to);
    return change.from;
  }

  /** Changes that are under way are left as they are: nothing is opened any more. */
  stop(): void {
    for (const { timer } of this.#changes.values()) clearTimeout(timer);
    this.#changes.clear();
  }
}
