/**
 * Publishes the mesh's roots in a ConfigMap, from which agents mount what they trust of control, and heals it when somebody edits or
 * deletes it. Further keys in it are left alone.
 */

import { type BackoffOptions, backoffDelay } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { type ApiCall, isApiError, type RawObject } from "./api.ts";
import { followObject, type NamedObjectDeps, type NamedObjectOptions } from "./named-object.ts";
import type { Reflector } from "./reflector.ts";
import { apiPath } from "./watched-kinds.ts";

export const rootConfigMap = "warren-ca-root";
export const rootKey = "root-cert.pem";

export interface RootPublisherDeps extends NamedObjectDeps {
  /** PEM of every root that agents should trust now. */
  readonly roots: () => string;
}

export interface RootPublisherOptions {
  readonly namespace: string;
  readonly timeoutMs: number;
  readonly backoff: BackoffOptions;
  readonly reflector?: NamedObjectOptions["reflector"];
}

export const rootPublisherDefaults = {
  timeoutMs: 10_000,
  backoff: { firstMs: 100, factor: 2, longestMs: 30_000, jitter: 0.5 },
} as const;

export class RootPublisher {
  readonly #deps: RootPublisherDeps;
  readonly #options: RootPublisherOptions;
  readonly #clock: Clock;
  #followed: Reflector | undefined;
  /** Undefined: not looked at yet. */
  #seen: { readonly object: RawObject | undefined } | undefined;
  #writing = false;
  #again = false;
  #failures = 0;
  #stopper = new AbortController();
  #cancel: () => void = () => {};

  constructor(deps: RootPublisherDeps, options: RootPublisherOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#clock = deps.clock;
  }

  start(): void {
    if (this.#followed !== undefined) return;
    this.#stopper = new AbortController();
    const { namespace, reflector } = this.#options;
    const named = { kind: "ConfigMap", apiVersion: "v1", plural: "configmaps", namespace, name: rootConfigMap };
    this.#followed = followObject(this.#deps, { ...named, ...(reflector ? { reflector } : {}) }, (object) => {
      this.#seen = { object };
      this.changed();
    });
  }

  /** To be called when the roots may have become others. */
  changed(): void {
    if (this.#seen === undefined) return;
    this.#again = true;
    if (!this.#writing) void this.#write();
  }

  /** May be called twice; `start` begins anew. */
  async stop(): Promise<void> {
    this.#stopper.abort(new Error("stopped"));
    this.#cancel();
    const followed = this.#followed;
    this.#followed = undefined;
    this.#seen = undefined;
    await followed?.stop();
  }

  async #write(): Promise<void> {
    const { signal } = this.#stopper;
    this.#writing = true;
    try {
      while (this.#again && !signal.aborted) {
        this.#again = false;
        const call = this.#neededCall();
        if (call === undefined) continue;
        const timeout = AbortSignal.timeout(this.#options.timeoutMs);
        await this.#deps.api.call(call, AbortSignal.any([signal, timeout]));
        this.#failures = 0;
        this.#deps.log.info({ configMap: `${this.#options.namespace}/${rootConfigMap}` }, "roots published");
      }
    } catch (error) {
      if (!signal.aborted) this.#retry(error);
    } finally {
      this.#writing = false;
    }
  }

  /** Undefined when what stands there is right. */
  #neededCall(): ApiCall | undefined {
    const { namespace } = this.#options;
    const object = this.#seen?.object;
    const wanted = this.#deps.roots();
    const data = { [rootKey]: wanted };
    if (object === undefined) {
      const metadata = { name: rootConfigMap, namespace, labels: { "app.kubernetes.io/part-of": "warren" } };
      const body = { apiVersion: "v1", kind: "ConfigMap", metadata, data };
      return { method: "POST", path: apiPath("v1", "configmaps", namespace), body };
    }
    if (((object["data"] ?? {}) as Record<string, unknown>)[rootKey] === wanted) return undefined;
    return {
      method: "PATCH",
      path: apiPath("v1", "configmaps", namespace, rootConfigMap),
      contentType: "application/merge-patch+json",
      body: { data },
    };
  }

  #retry(error: unknown): void {
    this.#failures += 1;
    // Made by another, or gone, a moment ago: the watch is about to say so, and then there is something else to do.
    if (!isApiError(error, 409) && !isApiError(error, 404)) {
      this.#deps.log.warn({ attempts: this.#failures }, `the roots could not be published: ${messageOf(error)}`);
    }
    const delay = backoffDelay(this.#failures, this.#options.backoff, this.#deps.random());
    this.#cancel();
    this.#cancel = this.#clock.after(delay, () => this.changed());
  }
}
