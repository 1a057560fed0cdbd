import type { MeshIndex } from "../../mesh/mesh-index.ts";

/** What PeerAuthentications say in a namespace, read once in an update for each that it comes to. */
export class NamespaceModes {
  readonly #view: MeshIndex;
  readonly #ports = new Map<string, ReadonlySet<number>>();
  readonly #any = new Map<string, boolean>();

  constructor(view: MeshIndex) {
    this.#view = view;
  }

  /** False where none has a say: no workload need be asked for its modes. */
  any(namespace: string): boolean {
    const known = this.#any.get(namespace);
    if (known !== undefined) return known;
    const view = this.#view;
    const policies = [
      ...view.peerAuthenticationsIn(view.settings.rootNamespace),
      ...view.peerAuthenticationsIn(namespace),
    ];
    this.#any.set(namespace, policies.length > 0);
    return policies.length > 0;
  }

  /** Ports that some of them names. */
  ports(namespace: string): ReadonlySet<number> {
    const known = this.#ports.get(namespace);
    if (known !== undefined) return known;
    const ports = new Set<number>();
    for (const { portModes } of this.#view.peerAuthenticationsIn(namespace)) {
      for (const port of portModes.keys()) ports.add(port);
    }
    this.#ports.set(namespace, ports);
    return ports;
  }
}
