/**
 * Keeps the authority in a Secret, for replicas that share it: made once by whoever is first (a second `create` conflicts), replaced
 * only if it still has the version that was read (the API compares resource versions), and followed by a watch. The text is that of
 * the folder, under one key.
 */
import {
  type AuthorityState,
  type AuthorityVault,
  decodeAuthorityState,
  encodeAuthorityState,
  type KeptState,
  unusableVault,
} from "../authority/authority-state.ts";
import { type ApiCall, isApiError, type RawObject } from "./api.ts";
import { followObject, type NamedObjectDeps, type NamedObjectOptions } from "./named-object.ts";
import { apiPath } from "./watched-kinds.ts";

export interface SecretVaultOptions {
  readonly namespace: string;
  readonly name: string;
  /** How long one call may take. */
  readonly timeoutMs: number;
  readonly reflector?: NamedObjectOptions["reflector"];
}

const dataKey = "authority.json";

export class SecretVault implements AuthorityVault {
  readonly #deps: NamedObjectDeps;
  readonly #options: SecretVaultOptions;
  readonly #where: string;

  constructor(deps: NamedObjectDeps, options: SecretVaultOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#where = `Secret ${options.namespace}/${options.name}`;
  }

  async load(): Promise<KeptState | undefined> {
    const { namespace, name } = this.#options;
    try {
      return this.#read(await this.#call({ method: "GET", path: apiPath("v1", "secrets", namespace, name) }));
    } catch (error) {
      if (isApiError(error, 404)) return undefined;
      throw error;
    }
  }

  async create(state: AuthorityState): Promise<KeptState> {
    const { namespace, name } = this.#options;
    const body = {
      apiVersion: "v1",
      kind: "Secret",
      // Its own type: nothing that mounts or copies ordinary Secrets takes it for one.
      type: "warren.dev/authority",
      metadata: { name, namespace, labels: { "app.kubernetes.io/part-of": "warren" } },
      data: encoded(state),
    };
    try {
      return this.#read(await this.#call({ method: "POST", path: apiPath("v1", "secrets", namespace), body }));
    } catch (error) {
      if (!isApiError(error, 409)) throw error;
    }
    const first = await this.load();
    if (first === undefined) throw unusableVault(this.#where, "it vanished while it was being read");
    return first;
  }

  async replace(version: string, state: AuthorityState): Promise<KeptState | undefined> {
    const { namespace, name } = this.#options;
    try {
      const replaced = await this.#call({
        method: "PATCH",
        path: apiPath("v1", "secrets", namespace, name),
        contentType: "application/merge-patch+json",
        body: { metadata: { resourceVersion: version }, data: encoded(state) },
      });
      return this.#read(replaced);
    } catch (error) {
      // Changed by another, or gone: either way there is something new to load.
      if (isApiError(error, 409) || isApiError(error, 404)) return undefined;
      throw error;
    }
  }

  watch(changed: () => void): () => void {
    const { namespace, name, reflector } = this.#options;
    const followed = followObject(
      this.#deps,
      { kind: "Secret", apiVersion: "v1", plural: "secrets", namespace, name, ...(reflector ? { reflector } : {}) },
      () => changed(),
    );
    return () => void followed.stop();
  }

  #call(call: ApiCall): Promise<RawObject> {
    return this.#deps.api.call(call, AbortSignal.timeout(this.#options.timeoutMs));
  }

  #read(secret: RawObject): KeptState {
    const text = secretText(secret)[dataKey];
    if (text === undefined) throw unusableVault(this.#where, `it has no key ${dataKey}`);
    const { resourceVersion } = (secret["metadata"] ?? {}) as { resourceVersion?: unknown };
    if (typeof resourceVersion !== "string") throw unusableVault(this.#where, "it has no resourceVersion");
    return { version: resourceVersion, state: decodeAuthorityState(text, this.#where) };
  }
}

/** The data of a Secret as text, by key; what is no text is left out. */
export function secretText({ data }: RawObject): Record<string, string> {
  if (typeof data !== "object" || data === null) return {};
  return Object.fromEntries(
    Object.entries(data).flatMap(([key, value]) =>
      typeof value === "string" ? [[key, Buffer.from(value, "base64").toString("utf8")]] : [],
    ),
  );
}

function encoded(state: AuthorityState): Record<string, string> {
  return { [dataKey]: Buffer.from(encodeAuthorityState(state)).toString("base64") };
}
