/**
 * Carries a rotation of the root from step to step. Every replica of control runs one: each asks the agents that are connected to it,
 * writes who has confirmed into the shared state, and takes the next step when all have, whichever replica saw them. So a rotation
 * survives restarts and needs no leader. An agent that is away holds it up until it is back, its node is gone, somebody excuses it, or
 * nothing that it could hold is valid any more.
 */
import { X509Certificate } from "node:crypto";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { pemBlocks } from "../../lib/pem.ts";
import { type AgentCensus, lacks } from "./agent-census.ts";
import type { Authority } from "./authority.ts";
import type { AuthorityState, Issuer, RootRotation } from "./authority-state.ts";
import { withSignedLists } from "./revocations.ts";
import { advance, confirm, type Gate, type GateOptions, gateOf, lag } from "./root-rotation.ts";

export interface RotationDriverDeps {
  readonly authority: Pick<Authority, "state" | "change" | "onChange">;
  readonly agents: AgentCensus;
  readonly clock: Clock;
  readonly log: { info(fields: object, message: string): void; error(fields: object, message: string): void };
}

export interface RotationDriverOptions extends GateOptions {
  /** Between two rounds of questions while a rotation is under way, milliseconds. */
  readonly roundMs: number;
  /** For one agent's answer, milliseconds. */
  readonly answerMs: number;
}

export const rotationDefaults = { roundMs: 1000, answerMs: 10_000 } as const;

/** Agents asked at once. */
const atOnce = 32;

/** `behind`: its agent says so. `unknown`: nobody knows. */
type Verdict = { readonly kind: "done" } | { readonly kind: "behind" | "unknown"; readonly why: string };

export class RotationDriver {
  readonly #deps: RotationDriverDeps;
  readonly #options: RotationDriverOptions;
  readonly #stop = new AbortController();
  readonly #listeners = new Set<() => void>();
  #reasons: ReadonlyMap<string, string> = new Map();
  #round: Promise<void> | undefined;
  #cancel: () => void = () => {};
  #forget: (() => void) | undefined;

  constructor(deps: RotationDriverDeps, options: RotationDriverOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** Call when the authority and the state of the mesh are there: without them nobody would seem to be missing. */
  start(): void {
    this.#forget ??= this.#deps.authority.onChange(() => this.#wake());
    this.#wake();
  }

  /** May be called twice. */
  async stop(): Promise<void> {
    this.#forget?.();
    this.#cancel();
    this.#stop.abort(new Error("the control plane stops"));
    await this.#round;
  }

  /** Called when what is waited for may have changed. Returns how to stop listening. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What stands before the next step, and why, as far as this replica knows; undefined without a rotation. */
  get waiting(): (Gate & { readonly reasons: ReadonlyMap<string, string> }) | undefined {
    const { rotation } = this.#deps.authority.state;
    if (rotation === undefined) return undefined;
    return { ...gateOf(rotation, this.#deps.agents.required(), this.#options), reasons: this.#reasons };
  }

  #wake(): void {
    if (this.#stop.signal.aborted || this.#round !== undefined || this.#deps.authority.state.rotation === undefined)
      return;
    this.#cancel();
    this.#round = this.#look()
      .catch((error: unknown) => {
        const message = `the rotation of the root stands still: ${messageOf(error)}`;
        if (!this.#stop.signal.aborted) this.#deps.log.error({ error }, message);
      })
      .finally(() => {
        this.#round = undefined;
        for (const listener of this.#listeners) listener();
        if (!this.#stop.signal.aborted)
          this.#cancel = this.#deps.clock.after(this.#options.roundMs, () => this.#wake());
      });
  }

  async #look(): Promise<void> {
    const { authority, agents, clock, log } = this.#deps;
    const { rotation } = authority.state;
    if (rotation === undefined) return;
    const { waitingFor, opensAt } = gateOf(rotation, agents.required(), this.#options);
    const { done, behind } = await this.#ask(rotation, waitingFor);
    // Long before time would open the gate, so that every replica has heard of it then; not at first, when everybody lies behind.
    const late = clock.now() > (rotation.phaseSince + opensAt) / 2;
    let before: AuthorityState | undefined;
    let unheard: readonly string[] = [];
    const after = await authority.change((state) => {
      const confirmed = confirm(state, rotation, done);
      const seen = late ? lag(confirmed, rotation, behind) : confirmed;
      before = state;
      if (seen.rotation === undefined) return seen;
      const gate = gateOf(seen.rotation, agents.required(), this.#options);
      unheard = gate.waitingFor;
      const next = advance(seen, gate, clock.now());
      return next === seen ? seen : withSignedLists(next, clock.now());
    });
    if (before?.rotation !== undefined && before.rotation.phase !== after.rotation?.phase) {
      const step = after.rotation === undefined ? "the old root is retired" : "the new root is trusted: it issues";
      const { confirmed, excused } = before.rotation;
      log.info({ confirmed: confirmed.length + done.length, excused, unheard }, `rotation of the root: ${step}`);
    }
  }

  /** Nodes that have done their part, and those whose agent says that it has not; why is kept for whoever looks. */
  async #ask(rotation: RootRotation, nodes: readonly string[]): Promise<{ done: string[]; behind: string[] }> {
    const next = rootsOf(rotation.phase === "trust" ? rotation.other : this.#deps.authority.state.issuer);
    const reasons = new Map<string, string>();
    const done: string[] = [];
    const behind: string[] = [];
    for (let first = 0; first < nodes.length; first += atOnce) {
      const some = nodes.slice(first, first + atOnce);
      await Promise.all(
        some.map(async (node) => {
          const verdict = await this.#judge(node, rotation, next);
          if (verdict.kind === "done") return void done.push(node);
          reasons.set(node, verdict.why);
          if (verdict.kind === "behind") behind.push(node);
        }),
      );
    }
    this.#reasons = reasons;
    return { done, behind };
  }

  async #judge(node: string, { phase }: RootRotation, next: readonly X509Certificate[]): Promise<Verdict> {
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(this.#options.answerMs)]);
    try {
      const held = await this.#deps.agents.certificates(node, "", signal);
      if (held === undefined) return { kind: "unknown", why: "its agent is not connected" };
      if (held.length === 0) return { kind: "unknown", why: "its agent has no certificate yet" };
      for (const certificate of held) {
        const why = lacks(phase, certificate, next);
        if (why !== undefined) return { kind: "behind", why };
      }
      return { kind: "done" };
    } catch (error) {
      return { kind: "unknown", why: `its agent does not answer: ${messageOf(error)}` };
    }
  }
}

function rootsOf({ roots }: Issuer): X509Certificate[] {
  return pemBlocks(roots, "CERTIFICATE").map((pem) => new X509Certificate(pem));
}
