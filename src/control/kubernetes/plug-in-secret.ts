/** Plug-in certificates from a Secret: Istio's `cacerts` by its file names, or one of type `kubernetes.io/tls`. */
import { MeshError } from "../../lib/errors.ts";
import type { PlugInReader } from "../authority/plug-in-source.ts";
import { isApiError, type RawObject } from "./api.ts";
import { followObject, type NamedObjectDeps } from "./named-object.ts";
import { secretText } from "./secret-vault.ts";
import { apiPath } from "./watched-kinds.ts";

export interface PlugInSecretOptions {
  readonly namespace: string;
  readonly name: string;
  readonly timeoutMs: number;
}

export class PlugInSecret implements PlugInReader {
  readonly where: string;
  readonly #deps: NamedObjectDeps;
  readonly #options: PlugInSecretOptions;

  constructor(deps: NamedObjectDeps, options: PlugInSecretOptions) {
    this.#deps = deps;
    this.#options = options;
    this.where = `Secret ${options.namespace}/${options.name}`;
  }

  /** Whether there is one: without it the authority signs itself. An API that does not answer is no answer. */
  async exists(): Promise<boolean> {
    return (await this.#get()) !== undefined;
  }

  async read(): Promise<Readonly<Record<string, string>>> {
    const secret = await this.#get();
    if (secret === undefined) throw new MeshError("MESH_PLUG_IN_UNUSABLE", `${this.where} is not there; create it`);
    return secretText(secret);
  }

  watch(changed: () => void): () => void {
    const { namespace, name } = this.#options;
    const options = { kind: "Secret", apiVersion: "v1", plural: "secrets", namespace, name };
    const followed = followObject(this.#deps, options, () => changed());
    return () => void followed.stop();
  }

  async #get(): Promise<RawObject | undefined> {
    const { namespace, name, timeoutMs } = this.#options;
    try {
      const path = apiPath("v1", "secrets", namespace, name);
      return await this.#deps.api.call({ method: "GET", path }, AbortSignal.timeout(timeoutMs));
    } catch (error) {
      if (isApiError(error, 404)) return undefined;
      throw error;
    }
  }
}
