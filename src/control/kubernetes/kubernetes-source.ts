/**
 * Mesh state from a cluster: one reflector per kind, each object translated at once by the translators that read manifests too, and
 * the rest of it dropped. What cannot be read leaves its last good version in force and stands in `problems()` until it is repaired.
 * It is complete, and `start` resolves, when every kind has been listed once; CRDs that are not installed hold nothing up.
 */

import { abortable } from "../../lib/abort.ts";
import type { Clock } from "../../lib/clock.ts";
import { Slices } from "../../lib/slices.ts";
import { ClusterState, type PieceKind } from "../../manifests/cluster-state.ts";
import { frameSchema } from "../../manifests/translate/metadata.ts";
import { translate } from "../../manifests/translate/translate.ts";
import { type FieldProblem, problemsOf } from "../../manifests/translate/translation.ts";
import type { MeshIndex } from "../../mesh/mesh-index.ts";
import type { MeshChange, MeshSettings, MeshSource } from "../../model/mesh.ts";
import type { KubernetesApi, RawObject } from "./api.ts";
import { PolicyObjects, policyKind } from "./policy-objects.ts";
import {
  Reflector,
  type ReflectorLog,
  type ReflectorOptions,
  type ReflectorState,
  reflectorDefaults,
} from "./reflector.ts";
import { apiPath, type WatchedKind, watchedKinds } from "./watched-kinds.ts";

export interface KubernetesSourceDeps {
  readonly api: KubernetesApi;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: ReflectorLog;
}

export interface KubernetesSourceOptions {
  readonly settings: MeshSettings;
  readonly reflector?: Partial<Omit<ReflectorOptions, "kind" | "path" | "optional">>;
}

/** Between two looks at the time: a millisecond or two. */
const objectsAtOnce = 32;

/** What is wrong with an object of the cluster. */
export interface ObjectProblem extends FieldProblem {
  /** `Kind namespace/name`. */
  readonly object: string;
}

export class KubernetesSource implements MeshSource {
  /** PeerAuthentications and AuthorizationPolicies as objects of the cluster: what a status says of them. */
  readonly policies = new PolicyObjects();
  readonly #deps: KubernetesSourceDeps;
  readonly #state: ClusterState;
  readonly #reflectors: readonly Reflector[];
  readonly #accounts = new Set<string>();
  /** By kind and name: kinds that have a safe reading for what cannot be read need to know whether a good one is in force. */
  readonly #good = new Set<string>();
  readonly #problems = new Map<string, readonly ObjectProblem[]>();
  readonly #problemListeners = new Set<(problems: readonly ObjectProblem[]) => void>();
  #flush: NodeJS.Immediate | undefined;
  #complete = false;
  #stopped = false;

  constructor(deps: KubernetesSourceDeps, options: KubernetesSourceOptions) {
    this.#deps = deps;
    this.#state = new ClusterState(options.settings);
    this.#reflectors = watchedKinds.map((watched) => this.#reflector(watched, options.reflector ?? {}));
  }

  get view(): MeshIndex {
    return this.#state.index;
  }

  onChange(listener: (change: MeshChange) => void): () => void {
    return this.#state.index.onChange(listener);
  }

  /** Everything that is wrong with objects of the cluster now. */
  problems(): readonly ObjectProblem[] {
    return [...this.#problems.values()].flat();
  }

  /** The listener hears of an object whose problems are new or others than before; of one that became good it hears nothing. */
  onProblems(listener: (problems: readonly ObjectProblem[]) => void): () => void {
    this.#problemListeners.add(listener);
    return () => this.#problemListeners.delete(listener);
  }

  /** How each kind is doing. */
  kinds(): ReadonlyMap<string, ReflectorState> {
    return new Map(this.#reflectors.map(({ kind, state }) => [kind, state]));
  }

  hasServiceAccount(namespace: string, name: string): boolean {
    return this.#accounts.has(`${namespace}/${name}`);
  }

  setSettings(settings: MeshSettings): void {
    this.#state.setSettings(settings);
  }

  async start(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    for (const reflector of this.#reflectors) reflector.start();
    try {
      await abortable(Promise.all(this.#reflectors.map(({ synced }) => synced)), signal);
      await this.#applyFirstLists(signal);
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearImmediate(this.#flush);
    await Promise.all(this.#reflectors.map((reflector) => reflector.stop()));
  }

  #reflector(watched: WatchedKind, options: Partial<ReflectorOptions>): Reflector {
    const { kind, apiVersion, plural, optional } = watched;
    const set =
      kind === "ServiceAccount"
        ? (namespace: string, name: string) => void this.#accounts.add(`${namespace}/${name}`)
        : (namespace: string, name: string, object: RawObject) => this.#set(kind, apiVersion, namespace, name, object);
    const remove =
      kind === "ServiceAccount"
        ? (namespace: string, name: string) => void this.#accounts.delete(`${namespace}/${name}`)
        : (namespace: string, name: string) => this.#delete(kind, namespace, name);
    return new Reflector(
      { ...this.#deps, sink: { set, delete: remove, settle: () => this.#settle() } },
      { ...reflectorDefaults, ...options, kind, path: apiPath(apiVersion, plural), optional },
    );
  }

  #set(kind: PieceKind, apiVersion: string, namespace: string, name: string, object: RawObject): void {
    const key = `${kind} ${namespace === "" ? "" : `${namespace}/`}${name}`;
    // The items of a list of built-in objects don't say what they are.
    const parsed = frameSchema.safeParse({ ...object, apiVersion: object["apiVersion"] ?? apiVersion, kind });
    if (!parsed.success) {
      this.#report(key, problemsOf(parsed.error));
      return;
    }
    const { metadata } = parsed.data;
    const frame = { apiVersion: parsed.data.apiVersion, kind, metadata, raw: object };
    const translation = translate(kind, frame, namespace);
    if (policyKind(kind)) this.policies.set(kind, namespace, name, object, translation);
    this.#report(key, translation.problems);
    if (translation.kind === "ok") {
      this.#state.set(namespace, name, translation.value);
      if (hasSafeReading(kind)) this.#good.add(key);
    } else if (translation.kind === "ignored") {
      this.#state.delete(namespace, name, kind);
      this.#good.delete(key);
    } else if (translation.otherwise !== undefined && !this.#good.has(key)) {
      // The safe reading gives way to the next version, good or bad.
      this.#state.set(namespace, name, translation.otherwise);
    }
  }

  #delete(kind: PieceKind, namespace: string, name: string): void {
    const key = `${kind} ${namespace === "" ? "" : `${namespace}/`}${name}`;
    this.#state.delete(namespace, name, kind);
    this.#good.delete(key);
    this.#problems.delete(key);
    if (policyKind(kind)) this.policies.delete(kind, namespace, name);
  }

  #report(key: string, found: readonly FieldProblem[]): void {
    if (found.length === 0) {
      this.#problems.delete(key);
      return;
    }
    const problems = found.map((problem): ObjectProblem => ({ object: key, ...problem }));
    const known = JSON.stringify(this.#problems.get(key)) === JSON.stringify(problems);
    this.#problems.set(key, problems);
    if (!known) for (const listener of this.#problemListeners) listener(problems);
  }

  /** A whole mesh in slices: the process that reads it answers probes and operators meanwhile. What still comes in is applied, too. */
  async #applyFirstLists(signal: AbortSignal): Promise<void> {
    const slices = new Slices();
    while (!this.#stopped && this.#state.flushPart(objectsAtOnce)) {
      if (slices.due) await slices.rest();
      signal.throwIfAborted();
    }
    this.#complete = true;
    this.#flushNow();
  }

  /** While the first lists come in, nobody reads the view yet, and what one kind says of another would be judged twice. Then, all that came in one go. */
  #settle(): void {
    if (this.#complete) this.#flush ??= setImmediate(() => this.#flushNow());
  }

  /** Small changes are one; of large ones as much as one turn of the event loop should hold, policies first. */
  #flushNow(): void {
    clearImmediate(this.#flush);
    this.#flush = undefined;
    if (this.#stopped) return;
    const slices = new Slices();
    let more = true;
    while (more && !slices.due) more = this.#state.flushPart(objectsAtOnce);
    this.policies.settle();
    if (more) this.#settle();
  }
}

/** Kinds whose translators say what an unreadable object shall mean until there is a good one. */
function hasSafeReading(kind: PieceKind): boolean {
  return policyKind(kind) || kind === "NetworkPolicy";
}
