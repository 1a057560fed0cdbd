/** What the authority has to know about pods before it signs: whether an identity lives on a node. */
import type { Clock } from "../../lib/clock.ts";
import type { Identity } from "../../model/identity.ts";
import type { MeshSource } from "../../model/mesh.ts";

export interface PodDirectory {
  /** True if a live, enrolled pod on this node runs as this identity. */
  hasEnrolledPod(node: string, identity: Identity): Promise<boolean>;
}

export interface MeshPodDirectoryDeps {
  readonly source: Pick<MeshSource, "view" | "onChange">;
  readonly clock: Clock;
}

export interface MeshPodDirectoryOptions {
  /**
   * How long to wait for a pod that is not there yet. An agent may hear of a pod a moment before we do; without the wait its
   * first certificate would come a whole backoff later.
   */
  readonly graceMs: number;
}

/** Answers from a mesh view: the manifest folder now, the watched cluster later. */
export class MeshPodDirectory implements PodDirectory {
  readonly #deps: MeshPodDirectoryDeps;
  readonly #options: MeshPodDirectoryOptions;

  constructor(deps: MeshPodDirectoryDeps, options: MeshPodDirectoryOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  async hasEnrolledPod(node: string, identity: Identity): Promise<boolean> {
    if (this.#has(node, identity)) return true;
    const { source, clock } = this.#deps;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const forget = source.onChange(() => {
      if (this.#has(node, identity)) resolve(true);
    });
    const cancel = clock.after(this.#options.graceMs, () => resolve(false));
    try {
      return await promise;
    } finally {
      forget();
      cancel();
    }
  }

  #has(node: string, identity: Identity): boolean {
    for (const pod of this.#deps.source.view.localPods(node)) if (pod.identity === identity) return true;
    return false;
  }
}
