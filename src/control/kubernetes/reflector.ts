/**
 * Keeps up with the objects of one kind: lists them page by page, then watches from the version of the list. A watch that ends is
 * resumed where it stopped; a version that the server has forgotten (410, as a status or as an event) means another list, after
 * which what has vanished is told as deleted. Objects are handed on as they come and not kept, only their names are.
 *
 * Duplicates and old versions may be handed on after a resume: whoever takes them sets them in place of what was there.
 */
import { type BackoffOptions, backoffDelay } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { pause } from "../../lib/pause.ts";
import { ApiError, type ApiQuery, isApiError, type KubernetesApi, type RawObject, type WatchEvent } from "./api.ts";
import { EventQueue } from "./event-queue.ts";

export interface ReflectorSink {
  set(namespace: string, name: string, object: RawObject): void;
  delete(namespace: string, name: string): void;
  /** A page, or a batch of events, is through. */
  settle(): void;
}

export interface ReflectorDeps {
  readonly api: KubernetesApi;
  readonly sink: ReflectorSink;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: ReflectorLog;
}

export interface ReflectorLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface ReflectorOptions {
  /** For messages: `Pod`. */
  readonly kind: string;
  /** The collection of the whole cluster. */
  readonly path: string;
  /** The kind is defined by a CRD, which may not be installed (yet). */
  readonly optional: boolean;
  readonly query: ApiQuery;
  readonly pageSize: number;
  /** A watch lasts between this and twice as long, so that those that began together don't end together. */
  readonly watchSeconds: number;
  readonly backoff: BackoffOptions;
  /** How often it is looked whether a missing kind has come. */
  readonly missingRetryMs: number;
}

export const reflectorDefaults = {
  query: {},
  pageSize: 500,
  watchSeconds: 300,
  backoff: { firstMs: 200, factor: 2, longestMs: 30_000, jitter: 0.5 },
  missingRetryMs: 15_000,
} as const;

const shortestWatchMs = 5000;
/** Of a page, or of what a watch brings, before others get a turn. */
const objectsAtOnce = 50;

export type ReflectorState =
  | { readonly kind: "listing" }
  | { readonly kind: "watching"; readonly objects: number }
  /** The cluster knows no such kind. What was known before stays in force: an API that restarts may say 404 for a moment. */
  | { readonly kind: "missing" }
  | { readonly kind: "failing"; readonly error: string; readonly attempts: number };

export class Reflector {
  readonly kind: string;
  readonly #deps: ReflectorDeps;
  readonly #options: ReflectorOptions;
  readonly #stopper = new AbortController();
  readonly #synced = Promise.withResolvers<void>();
  #known = new Set<string>();
  #state: ReflectorState = { kind: "listing" };
  #running: Promise<void> | undefined;
  #failures = 0;

  constructor(deps: ReflectorDeps, options: ReflectorOptions) {
    this.#deps = deps;
    this.#options = options;
    this.kind = options.kind;
  }

  /** Resolves when everything there was has been handed on once, or when the cluster turned out not to know the kind. */
  get synced(): Promise<void> {
    return this.#synced.promise;
  }

  get state(): ReflectorState {
    return this.#state;
  }

  start(): void {
    this.#running ??= this.#run(this.#stopper.signal);
  }

  /** The sink hears nothing after this was called. May be called twice. */
  async stop(): Promise<void> {
    this.#stopper.abort(new Error(`the watch of ${this.kind} was stopped`));
    await this.#running;
  }

  async #run(signal: AbortSignal): Promise<void> {
    let version = "";
    while (!signal.aborted) {
      try {
        if (version === "") {
          version = await this.#list(signal);
          this.#failures = 0;
          this.#synced.resolve();
        }
        this.#state = { kind: "watching", objects: this.#known.size };
        const [before, began] = [version, this.#deps.clock.now()];
        await this.#watch(version, signal, (next) => {
          version = next;
        });
        // A server that ends every watch at once, with nothing said, must not be asked in a loop.
        if (version === before && this.#deps.clock.now() - began < shortestWatchMs) this.#failures += 1;
        await this.#pause(Math.max(this.#failures, 1), signal);
      } catch (error) {
        if (signal.aborted) return;
        // A kind that was taken away and comes back begins anew.
        if (isForgotten(error) || isApiError(error, 404)) version = "";
        await this.#recover(error, signal);
      }
    }
  }

  /** All pages of one consistent list; resolves to its version. */
  async #list(signal: AbortSignal): Promise<string> {
    const { api, sink } = this.#deps;
    const { path, pageSize, query } = this.#options;
    if (this.#state.kind !== "missing") this.#state = { kind: "listing" };
    const found = new Set<string>();
    let page = "";
    for (;;) {
      const parameters = { ...query, limit: String(pageSize), ...(page === "" ? {} : { continue: page }) };
      const list = await api.call({ method: "GET", path, query: parameters }, signal);
      signal.throwIfAborted();
      const { items, version, next } = readList(list, this.kind);
      for (const [index, object] of items.entries()) {
        // A list during service must not hold up whoever asks for a certificate meanwhile.
        if (index % objectsAtOnce === objectsAtOnce - 1) await breathe(signal);
        const named = nameOf(object);
        if (named === undefined) continue;
        found.add(`${named.namespace}/${named.name}`);
        sink.set(named.namespace, named.name, object);
      }
      if (next === "") {
        const vanished = [...this.#known].filter((key) => !found.has(key));
        for (const key of vanished) sink.delete(...split(key));
        this.#known = found;
        sink.settle();
        return version;
      }
      // What is known already must be known as such: a list that breaks off here is followed by another.
      for (const key of found) this.#known.add(key);
      sink.settle();
      page = next;
    }
  }

  async #watch(from: string, signal: AbortSignal, advance: (version: string) => void): Promise<void> {
    const { api, sink, random } = this.#deps;
    const { path, query, watchSeconds } = this.#options;
    const parameters = {
      ...query,
      resourceVersion: from,
      allowWatchBookmarks: "true",
      timeoutSeconds: String(Math.round(watchSeconds * (1 + random()))),
    };
    const take = ({ type, object }: WatchEvent): void => {
      if (signal.aborted) return;
      if (type === "ERROR") throw eventError(this.kind, object);
      const version = versionOf(object);
      if (type !== "BOOKMARK") {
        const named = nameOf(object);
        if (named === undefined) return;
        const key = `${named.namespace}/${named.name}`;
        if (type === "DELETED") {
          this.#known.delete(key);
          sink.delete(named.namespace, named.name);
        } else {
          this.#known.add(key);
          sink.set(named.namespace, named.name, object);
        }
        sink.settle();
        this.#state = { kind: "watching", objects: this.#known.size };
      }
      // Only now: an event that could not be handed on is asked for again.
      if (version !== "") advance(version);
      this.#failures = 0;
    };
    const broken = new AbortController();
    const queue = new EventQueue<WatchEvent>(
      { take, failed: (error) => broken.abort(error) },
      { atOnce: objectsAtOnce },
    );
    try {
      await api.watch(path, parameters, (event) => queue.push(event), AbortSignal.any([signal, broken.signal]));
      // The next watch begins where this one has ended, not before.
      await queue.drained();
      broken.signal.throwIfAborted();
    } finally {
      queue.close();
    }
  }

  async #recover(error: unknown, signal: AbortSignal): Promise<void> {
    const { log } = this.#deps;
    const { kind } = this;
    this.#failures += 1;
    if (isApiError(error, 404) && this.#options.optional) {
      this.#synced.resolve();
      if (this.#state.kind !== "missing") {
        this.#state = { kind: "missing" };
        log.warn({ kind }, `the cluster knows no ${kind}: install its CRD; until then there is nothing to watch`);
      }
      const delay = this.#options.missingRetryMs * (0.75 + this.#deps.random() / 2);
      await pause(this.#deps.clock, delay, signal);
      return;
    }
    if (isForgotten(error)) {
      log.debug({ kind }, `the server has forgotten the last version of ${kind} that was seen; listing again`);
    } else {
      const text = messageOf(error);
      this.#state = { kind: "failing", error: text, attempts: this.#failures };
      // One that happens now and then is how watches end; what goes on is worth a warning.
      if (this.#failures === 1) log.debug({ kind, error: text }, `${kind}: trying again`);
      else log.warn({ kind, error: text, attempts: this.#failures }, `${kind} cannot be read; last good state holds`);
    }
    await this.#pause(this.#failures, signal, error instanceof ApiError ? error.retryAfterMs : 0);
  }

  async #pause(failures: number, signal: AbortSignal, atLeastMs = 0): Promise<void> {
    const delay = backoffDelay(failures, this.#options.backoff, this.#deps.random());
    await pause(this.#deps.clock, Math.max(delay, atLeastMs), signal);
  }
}

async function breathe(signal: AbortSignal): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
  signal.throwIfAborted();
}

function isForgotten(error: unknown): boolean {
  return error instanceof ApiError && (error.status === 410 || error.reason === "Expired" || error.reason === "Gone");
}

function eventError(kind: string, status: RawObject): ApiError {
  const { code, reason, message } = status;
  return new ApiError(`watch of ${kind}: ${typeof message === "string" ? message : "the server reported an error"}`, {
    status: typeof code === "number" ? code : 500,
    reason: typeof reason === "string" ? reason : "",
  });
}

function readList(list: RawObject, kind: string): { items: readonly RawObject[]; version: string; next: string } {
  const { items, metadata } = list;
  const version = versionOf(list);
  if ((!Array.isArray(items) && items !== null) || version === "") {
    throw new ApiError(`the list of ${kind} has no items or no version`, { status: 500 });
  }
  const next = (metadata as { continue?: unknown }).continue;
  const objects = ((items ?? []) as readonly unknown[]).filter(
    (item): item is RawObject => typeof item === "object" && item !== null,
  );
  return { items: objects, version, next: typeof next === "string" ? next : "" };
}

function versionOf({ metadata }: RawObject): string {
  const version = (metadata as { resourceVersion?: unknown } | null | undefined)?.resourceVersion;
  return typeof version === "string" ? version : "";
}

function nameOf({ metadata }: RawObject): { readonly namespace: string; readonly name: string } | undefined {
  const { namespace, name } = (metadata ?? {}) as { namespace?: unknown; name?: unknown };
  if (typeof name !== "string" || name === "") return undefined;
  return { namespace: typeof namespace === "string" ? namespace : "", name };
}

function split(key: string): [string, string] {
  const slash = key.indexOf("/");
  return [key.slice(0, slash), key.slice(slash + 1)];
}
