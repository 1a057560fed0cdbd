/**
 * One of several replicas writes to the cluster: who holds the Lease. Writing is idempotent, but two versions of control that say the
 * same thing in other words (during an upgrade) would overwrite each other for ever without it. The data path needs no leader.
 *
 * A holder that cannot renew stops leading before others may begin; others trust only how long *they* have seen no renewal, so clocks
 * of different machines don't matter.
 */
import { z } from "zod";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { type ApiCall, isApiError, type KubernetesApi, type RawObject } from "./api.ts";
import type { ReflectorLog } from "./reflector.ts";
import { apiPath } from "./watched-kinds.ts";

export interface LeaderDeps {
  readonly api: KubernetesApi;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: ReflectorLog;
  /** Called when this process becomes the one, and when it is no longer. */
  readonly onChange: (leading: boolean) => void;
}

export interface LeaderOptions {
  readonly namespace: string;
  readonly name: string;
  /** Of this process, unique among replicas: the pod's name. */
  readonly identity: string;
  /** Others may take over after they saw no renewal for this long. */
  readonly leaseMs: number;
  /** The holder stops leading after this long without a renewal. */
  readonly renewWithinMs: number;
  readonly retryMs: number;
}

export const leaderDefaults = {
  name: "warren-control",
  leaseMs: 15_000,
  renewWithinMs: 10_000,
  retryMs: 2000,
} as const;

/** How long a process that ends tries to tell the others. */
const giveUpMs = 5000;

const leaseSchema = z.looseObject({
  metadata: z.looseObject({ resourceVersion: z.string() }),
  spec: z.looseObject({ holderIdentity: z.string().nullish(), leaseTransitions: z.number().nullish() }).nullish(),
});

export class Leader {
  readonly #deps: LeaderDeps;
  readonly #options: LeaderOptions;
  #leading = false;
  #renewedAt = 0;
  /** The version of the Lease that was seen last, and since when. */
  #seen: { readonly version: string; readonly since: number } | undefined;
  #cancel: () => void = () => {};
  #stopper = new AbortController();
  #round: Promise<void> = Promise.resolve();

  constructor(deps: LeaderDeps, options: LeaderOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  get leading(): boolean {
    return this.#leading;
  }

  start(): void {
    this.#next(0);
  }

  /** Gives the Lease up, so that another need not wait for its end. May be called twice. */
  async stop(): Promise<void> {
    this.#cancel();
    this.#stopper.abort(new Error("stopped"));
    await this.#round;
    if (!this.#leading) return;
    this.#set(false);
    const { namespace, name, identity } = this.#options;
    const signal = AbortSignal.timeout(giveUpMs);
    try {
      const lease = await this.#deps.api.call({ method: "GET", path: this.#path(name) }, signal);
      const { metadata, spec } = leaseSchema.parse(lease);
      if (spec?.holderIdentity !== identity) return;
      await this.#deps.api.call(this.#put(lease, metadata.resourceVersion, { holderIdentity: "" }), signal);
    } catch (error) {
      this.#deps.log.debug({ lease: `${namespace}/${name}` }, `the Lease was not given up: ${messageOf(error)}`);
    }
  }

  #next(delayMs: number): void {
    if (this.#stopper.signal.aborted) return;
    this.#cancel = this.#deps.clock.after(delayMs, () => {
      this.#round = this.#try().finally(() => this.#next(this.#options.retryMs * (0.9 + this.#deps.random() / 5)));
    });
  }

  async #try(): Promise<void> {
    const { clock, log } = this.#deps;
    const { name, namespace, renewWithinMs, retryMs } = this.#options;
    const { signal } = this.#stopper;
    try {
      // A call that hangs must not outlast the right to lead.
      const held = await this.#acquire(
        AbortSignal.any([signal, AbortSignal.timeout(Math.max(retryMs, renewWithinMs / 2))]),
      );
      if (signal.aborted) return;
      if (held) this.#renewedAt = clock.now();
      this.#set(held);
    } catch (error) {
      if (signal.aborted) return;
      log.debug({ lease: `${namespace}/${name}` }, `the Lease could not be renewed: ${messageOf(error)}`);
      if (this.#leading && clock.now() - this.#renewedAt >= renewWithinMs) {
        log.warn({ lease: `${namespace}/${name}` }, `no longer leading: ${messageOf(error)}`);
        this.#set(false);
      }
    }
  }

  /** True if the Lease is ours now. */
  async #acquire(signal: AbortSignal): Promise<boolean> {
    const { api, clock } = this.#deps;
    const { name, identity, leaseMs } = this.#options;
    let lease: RawObject;
    try {
      lease = await api.call({ method: "GET", path: this.#path(name) }, signal);
    } catch (error) {
      if (!isApiError(error, 404)) throw error;
      return await this.#wins(this.#post(), signal);
    }
    const { metadata, spec } = leaseSchema.parse(lease);
    const { resourceVersion: version } = metadata;
    const holder = spec?.holderIdentity ?? "";
    if (holder === identity) return await this.#wins(this.#put(lease, version, {}), signal);
    if (this.#seen?.version !== version) this.#seen = { version, since: clock.now() };
    if (holder !== "" && clock.now() - this.#seen.since < leaseMs) return false;
    const taken = {
      holderIdentity: identity,
      acquireTime: microTime(clock.now()),
      leaseTransitions: (spec?.leaseTransitions ?? 0) + 1,
    };
    return await this.#wins(this.#put(lease, version, taken), signal);
  }

  async #wins(call: ApiCall, signal: AbortSignal): Promise<boolean> {
    try {
      await this.#deps.api.call(call, signal);
      return true;
    } catch (error) {
      if (isApiError(error, 409)) return false;
      throw error;
    }
  }

  #post(): ApiCall {
    const { namespace, name, identity, leaseMs } = this.#options;
    const now = microTime(this.#deps.clock.now());
    const spec = {
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(leaseMs / 1000),
      acquireTime: now,
      renewTime: now,
      leaseTransitions: 0,
    };
    const metadata = { name, namespace, labels: { "app.kubernetes.io/part-of": "warren" } };
    return { method: "POST", path: this.#path(), body: { apiVersion, kind: "Lease", metadata, spec } };
  }

  #put(lease: RawObject, version: string, changes: object): ApiCall {
    const { name, leaseMs } = this.#options;
    const spec = {
      ...(lease["spec"] as object | undefined),
      leaseDurationSeconds: Math.ceil(leaseMs / 1000),
      renewTime: microTime(this.#deps.clock.now()),
      ...changes,
    };
    const metadata = { ...(lease["metadata"] as object), resourceVersion: version };
    return { method: "PUT", path: this.#path(name), body: { ...lease, apiVersion, kind: "Lease", metadata, spec } };
  }

  #path(name = ""): string {
    return apiPath(apiVersion, "leases", this.#options.namespace, name);
  }

  #set(leading: boolean): void {
    if (this.#leading === leading) return;
    this.#leading = leading;
    const { namespace, name, identity } = this.#options;
    this.#deps.log.info({ lease: `${namespace}/${name}`, identity }, leading ? "leading" : "not leading");
    this.#deps.onChange(leading);
  }
}

const apiVersion = "coordination.k8s.io/v1";

/** `metav1.MicroTime`. */
function microTime(now: number): string {
  return new Date(now).toISOString().replace("Z", "000Z");
}
