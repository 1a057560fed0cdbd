/** The tunnel groups by handle and by what makes them alike. */
import { MeshError } from "../../lib/errors.ts";
import type { Decision, GroupHandle, GroupSpec } from "../engine.ts";
import type { EngineContext } from "./context.ts";
import type { Pod } from "./pod.ts";
import { Pool } from "./pool.ts";

export interface GroupsDeps {
  nextHandle(): GroupHandle;
  /** A group or one of its tunnels is gone. */
  changed(): void;
}

export class Groups {
  readonly #context: EngineContext;
  readonly #deps: GroupsDeps;
  readonly #byHandle = new Map<GroupHandle, Pool>();
  readonly #byKey = new Map<string, Pool>();

  constructor(context: EngineContext, deps: GroupsDeps) {
    this.#context = context;
    this.#deps = deps;
  }

  get size(): number {
    return this.#byHandle.size;
  }

  get(handle: GroupHandle): Pool | undefined {
    return this.#byHandle.get(handle);
  }

  all(): IterableIterator<Pool> {
    return this.#byHandle.values();
  }

  *of(pod: Pod): Generator<Pool> {
    for (const pool of this.#byHandle.values()) if (pool.pod === pod) yield pool;
  }

  /** The pool of an equal spec if it has not been released, else a new one. */
  open(spec: GroupSpec, pod: Pod): Pool {
    if (spec.expectedIdentities.length === 0) {
      throw new MeshError(
        "MESH_NO_EXPECTED_IDENTITY",
        "a tunnel group must name the identities that its peer may prove",
      );
    }
    if (pod.removed) throw new MeshError("MESH_UNKNOWN_HANDLE", `pod ${pod.uid} is being removed`);
    const expected = new Set(spec.expectedIdentities);
    const key = [pod.handle, spec.peer.address, spec.peer.port, ...[...expected].sort()].join(" ");
    const known = this.#byKey.get(key);
    if (known !== undefined && !known.released) return known;
    const parts = { handle: this.#deps.nextHandle(), pod, peer: { ...spec.peer }, expected };
    const pool = new Pool(this.#context, parts, {
      changed: () => this.#deps.changed(),
      empty: () => {
        this.#byHandle.delete(parts.handle);
        if (this.#byKey.get(key) === pool) this.#byKey.delete(key);
        this.#deps.changed();
      },
    });
    this.#byHandle.set(pool.handle, pool);
    this.#byKey.set(key, pool);
    return pool;
  }

  /** False for a decision whose groups are all released: repeating it would only fail. */
  carries(decision: Decision): boolean {
    if (decision.kind !== "carry") return true;
    return decision.targets.some(({ group }) => this.#byHandle.get(group)?.released === false);
  }
}
