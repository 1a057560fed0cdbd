/**
 * The network namespaces of captured pods, by pod: learned on the way of a pod's sockets to the driver, so that looking into a namespace
 * later needs no search for it. The descriptors belong to capture; whoever visits has them duplicated at once.
 */
import type { PodSocketList, PodSocketsReader } from "../capture/pod-sockets.ts";
import { MeshError } from "../lib/errors.ts";
import type { LocalPod } from "../model/workload.ts";
import type { PodSockets } from "../tunnel/driver.ts";
import type { PodCaptureDeps } from "./pod-capture.ts";

type Reader = Pick<PodSocketsReader, "list" | "cut">;
type Tunnels = PodCaptureDeps["tunnels"];

export class PodNamespaces {
  readonly #reader: () => Reader;
  readonly #descriptors = new Map<string, number>();

  constructor(deps: { readonly reader: () => Reader }) {
    this.#reader = deps.reader;
  }

  /** The driver, as enrolment sees it. */
  watching(tunnels: Tunnels): Tunnels {
    return {
      addPod: (local: LocalPod, sockets: PodSockets) => {
        tunnels.addPod(local, sockets);
        this.#descriptors.set(local.uid, sockets.netns.fd);
      },
      updatePod: (local) => tunnels.updatePod(local),
      removePod: (uid, options) => {
        this.#descriptors.delete(uid);
        return tunnels.removePod(uid, options);
      },
    };
  }

  async list({ uid }: Pick<LocalPod, "uid">): Promise<PodSocketList> {
    return this.#reader().list(this.#descriptor(uid));
  }

  async cut({ uid }: Pick<LocalPod, "uid">): Promise<number> {
    return this.#reader().cut(this.#descriptor(uid));
  }

  #descriptor(uid: string): number {
    const descriptor = this.#descriptors.get(uid);
    if (descriptor === undefined)
      throw new MeshError("MESH_NOT_CAPTURED", "the pod is not captured here; see: warren status");
    return descriptor;
  }
}
