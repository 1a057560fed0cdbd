/**
 * Tells the authors of policies what became of them: a condition on the object, and an Event when it turned bad. Run by the leader of
 * the replicas. What the object says already is not written again, bad news goes before good, and writes are spaced.
 *
 * The whole list of conditions is written, with the version of the object that it was read from: another controller's condition is
 * never lost, and a write that comes too late conflicts and is thought over.
 */
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { pause } from "../../lib/pause.ts";
import type { MeshChange, MeshView } from "../../model/mesh.ts";
import { ApiError, isApiError, type KubernetesApi, type RawObject } from "./api.ts";
import { acceptedType, type Condition, conditionsOf, type PolicyObject, type PolicyObjects } from "./policy-objects.ts";
import { says, type Verdict, verdictOf } from "./policy-status.ts";
import type { ReflectorLog } from "./reflector.ts";
import { apiPath } from "./watched-kinds.ts";

export interface StatusWriterDeps {
  readonly api: Pick<KubernetesApi, "call">;
  readonly policies: PolicyObjects;
  readonly source: { readonly view: MeshView; onChange(listener: (change: MeshChange) => void): () => void };
  readonly clock: Clock;
  readonly log: ReflectorLog;
}

export interface StatusWriterOptions {
  /** Of this process, in Events. */
  readonly identity: string;
  /** Quiet time before policies are looked at. */
  readonly settleMs: number;
  /** Time between two writes. */
  readonly spacingMs: number;
  /** After a failure. */
  readonly retryMs: number;
  readonly timeoutMs: number;
}

export const statusWriterDefaults = { settleMs: 250, spacingMs: 50, retryMs: 10_000, timeoutMs: 10_000 } as const;

interface WriteOutcome {
  readonly kind: "done" | "again" | "failed";
  readonly retryMs: number;
}

const done: WriteOutcome = { kind: "done", retryMs: 0 };

const plurals = { PeerAuthentication: "peerauthentications", AuthorizationPolicy: "authorizationpolicies" } as const;
const component = "warren-control";
/** Bytes, of which the API takes no more. */
const longestNote = 1024;

export class StatusWriter {
  readonly #deps: StatusWriterDeps;
  readonly #options: StatusWriterOptions;
  #forget: () => void = () => {};
  #wake: () => void = () => {};
  #stopper: AbortController | undefined;
  #running: Promise<void> = Promise.resolve();
  #dirty = false;
  /** Verdicts that the API took and did not keep, by the object's uid. */
  readonly #dropped = new Map<string, string>();

  constructor(deps: StatusWriterDeps, options: StatusWriterOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** From now on this process writes. */
  start(): void {
    if (this.#stopper !== undefined) return;
    const stopper = new AbortController();
    this.#stopper = stopper;
    const forget = [
      this.#deps.policies.onChange(() => this.#changed()),
      // Services come and go: policies may be about them.
      this.#deps.source.onChange(({ services }) => {
        if (services.size > 0) this.#changed();
      }),
    ];
    this.#forget = () => {
      for (const one of forget) one();
    };
    this.#dirty = true;
    // Never two at once: one that was stopped may still be at its last call.
    const last = this.#running;
    this.#running = (async () => {
      await last;
      await this.#run(stopper.signal);
    })();
  }

  /** May be called twice; `start` begins anew. */
  async stop(): Promise<void> {
    this.#stopper?.abort(new Error("stopped"));
    this.#stopper = undefined;
    this.#forget();
    this.#wake();
    await this.#running;
  }

  #changed(): void {
    this.#dirty = true;
    this.#wake();
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    while (!signal.aborted) {
      if (!this.#dirty) await this.#change();
      await pause(clock, this.#options.settleMs, signal);
      if (signal.aborted) return;
      this.#dirty = false;
      const retryMs = await this.#write(signal);
      if (retryMs === 0) continue;
      await Promise.race([pause(clock, retryMs, signal), this.#change()]);
      this.#dirty = true;
    }
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  /** Resolves to when to try what could not be written again; 0 when nothing is left. */
  async #write(signal: AbortSignal): Promise<number> {
    const { policies, source, clock } = this.#deps;
    const due = [...policies]
      .map((object) => ({ object, verdict: verdictOf(object, source.view) }))
      .filter(({ object, verdict }) => !says(object, verdict))
      .filter(({ object, verdict }) => this.#dropped.get(object.uid) !== JSON.stringify(verdict))
      .sort((one, other) => (one.verdict.status < other.verdict.status ? -1 : 1));
    let retryMs = 0;
    for (const { object, verdict } of due) {
      if (signal.aborted) return 0;
      const outcome = await this.#writeOne(object, verdict, signal);
      retryMs = Math.max(retryMs, outcome.retryMs);
      // What the API did not do for this object it will not do for the next either.
      if (outcome.kind === "failed") break;
      await pause(clock, this.#options.spacingMs, signal);
    }
    return retryMs;
  }

  async #writeOne(object: PolicyObject, verdict: Verdict, signal: AbortSignal): Promise<WriteOutcome> {
    const { api, log } = this.#deps;
    const { kind, namespace, name, apiVersion } = object;
    const path = apiPath(apiVersion, plurals[kind], namespace, name);
    const bounded = AbortSignal.any([signal, AbortSignal.timeout(this.#options.timeoutMs)]);
    try {
      const current = await api.call({ method: "GET", path }, bounded);
      const { uid, generation, resourceVersion } = (current["metadata"] ?? {}) as Record<string, unknown>;
      // Another object by now, or another text of it: the watch is about to say so.
      if (uid !== object.uid || generation !== object.generation) return done;
      const before = conditionsOf(current).find(({ type }) => type === acceptedType);
      if (before !== undefined && says({ accepted: before }, verdict)) return done;
      const conditions = [...others(current), this.#dated(verdict, before)];
      const kept = await api.call(
        {
          method: "PATCH",
          path: `${path}/status`,
          query: { fieldManager: component },
          contentType: "application/merge-patch+json",
          body: { metadata: { resourceVersion }, status: { conditions } },
        },
        bounded,
      );
      if (!conditionsOf(kept).some((accepted) => says({ accepted }, verdict))) {
        // A CRD whose schema drops parts of it: written again and again, it would never say what it should.
        this.#dropped.set(object.uid, JSON.stringify(verdict));
        log.warn(
          { kind, object: `${namespace}/${name}` },
          "the API does not keep the condition; update the CRD's status schema",
        );
      }
      log.debug({ kind, object: `${namespace}/${name}`, reason: verdict.reason }, "status written");
      if (verdict.status === "False" && (before?.reason !== verdict.reason || before.message !== verdict.message)) {
        await this.#event(object, verdict, bounded);
      }
      return done;
    } catch (error) {
      if (signal.aborted || isApiError(error, 404)) return done;
      if (isApiError(error, 409)) return { kind: "again", retryMs: this.#options.settleMs };
      log.warn({ kind, object: `${namespace}/${name}` }, `its status could not be written: ${messageOf(error)}`);
      const retryMs = Math.max(this.#options.retryMs, error instanceof ApiError ? error.retryAfterMs : 0);
      // An object that the API finds at fault says nothing about the others.
      return { kind: isApiError(error, 400) || isApiError(error, 422) ? "again" : "failed", retryMs };
    }
  }

  #dated(verdict: Verdict, before: Condition | undefined): Condition {
    const unchanged = before?.status === verdict.status && before.lastTransitionTime !== "";
    const now = `${new Date(this.#deps.clock.now()).toISOString().slice(0, 19)}Z`;
    return { ...verdict, lastTransitionTime: unchanged ? before.lastTransitionTime : now };
  }

  async #event(object: PolicyObject, { reason, message }: Verdict, signal: AbortSignal): Promise<void> {
    const { api, clock } = this.#deps;
    const { kind, namespace, name, uid, apiVersion, resourceVersion } = object;
    const now = new Date(clock.now()).toISOString();
    const body = {
      apiVersion: "events.k8s.io/v1",
      kind: "Event",
      // The API takes no prefix that ends in a dot, which a name that was cut may have before the dash.
      metadata: { generateName: `${name.slice(0, 200).replace(/[-.]+$/, "")}-`, namespace },
      eventTime: now.replace("Z", "000Z"),
      type: "Warning",
      reason,
      action: "Evaluate",
      note: bounded(message, longestNote),
      reportingController: "warren.dev/control",
      reportingInstance: this.#options.identity.slice(0, 128),
      regarding: { apiVersion, kind, namespace, name, uid, resourceVersion },
    };
    await api.call({ method: "POST", path: apiPath("events.k8s.io/v1", "events", namespace), body }, signal);
  }
}

/** As much of a text as fits into so many bytes of UTF-8. */
function bounded(text: string, bytes: number): string {
  const all = Buffer.from(text);
  // A character that was cut in two decodes as U+FFFD.
  return all.length <= bytes
    ? text
    : all
        .subarray(0, bytes - 3)
        .toString("utf8")
        .replace(/\uFFFD$/, "");
}

/** Conditions of other writers, as they are: with fields that we know nothing of. */
function others(object: RawObject): readonly unknown[] {
  const { conditions } = (object["status"] ?? {}) as { conditions?: unknown };
  if (!Array.isArray(conditions)) return [];
  return conditions.filter((one: unknown) => (one as { type?: unknown } | null)?.type !== acceptedType);
}
