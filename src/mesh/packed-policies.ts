/** Policies as text outside JavaScript's heap: an agent of a mesh with thousands asks about the few that select its own pods. */
import { ByteStore, largestRecord } from "../lib/byte-store.ts";
import type { AuthorizationPolicy } from "../model/authorization.ts";
import { type PolicyStore, policiesAsTheyCame, type StoredPolicy } from "../policy/authorization/policy-store.ts";

type PackedText = Omit<AuthorizationPolicy, "matchLabels"> & {
  readonly matchLabels?: readonly (readonly [string, string])[];
};

export class PackedPolicies implements PolicyStore {
  readonly #store = new ByteStore();

  /** Bytes of memory that they take. */
  get allocated(): number {
    return this.#store.allocated;
  }

  put(policy: AuthorizationPolicy): StoredPolicy {
    const bytes = pack(policy);
    if (bytes.length > largestRecord) return policiesAsTheyCame.put(policy);
    return new PackedPolicy(this.#store, this.#store.put(bytes));
  }
}

class PackedPolicy implements StoredPolicy {
  readonly #store: ByteStore;
  readonly #place: number;

  constructor(store: ByteStore, place: number) {
    this.#store = store;
    this.#place = place;
  }

  read(): AuthorizationPolicy {
    return unpack(this.#store.get(this.#place));
  }

  free(): void {
    this.#store.free(this.#place);
  }
}

function pack({ matchLabels, ...rest }: AuthorizationPolicy): Buffer {
  const text: PackedText = { ...rest, ...(matchLabels === undefined ? {} : { matchLabels: [...matchLabels] }) };
  return Buffer.from(JSON.stringify(text));
}

function unpack({ buffer, byteOffset, length }: Uint8Array): AuthorizationPolicy {
  // Written by `pack` and by nobody else.
  const { matchLabels, ...rest } = JSON.parse(Buffer.from(buffer, byteOffset, length).toString()) as PackedText;
  return { ...rest, matchLabels: matchLabels === undefined ? undefined : new Map(matchLabels) };
}
