/**
 * Carries a rotation of the root from step to step. Every replica of control runs one: each asks the agents that are connected to it,
 * writes who has confirmed into the shared state, and takes the next step when all have, whichever replica saw them. So a rotation
 * survives restarts and needs no leader. An agent that is away holds it up until it is back, its node is gone, or somebody excuses it.
 */
import { X509Certificate } from "node:crypto";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { pemBlocks } from "../../lib/pem.ts";
import { type AgentCensus, lacks } from "./agent-census.ts";
import type { Authority } from "./authority.ts";
import type { AuthorityState, Issuer, RootRotation } from "./authority-state.ts";
import { withSignedLists } from "./revocations.ts";
import { advance, confirm, type Gate, type GateOptions, gateOf } from "./root-rotation.ts";

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
    const required = agents.required();
    const { waitingFor } = gateOf(rotation, required, this.#options);
    const done = await this.#ask(rotation, waitingFor);
    let before: AuthorityState | undefined;
    const after = await authority.change((state) => {
      const confirmed = confirm(state, rotation, done);
      before = state;
      if (confirmed.rotation === undefined) return confirmed;
      const next = advance(confirmed, gateOf(confirmed.rotation, agents.required(), this.#options), clock.now());
      return next === confirmed ? confirmed : withSignedLists(next, clock.now());
    });
    if (before?.rotation !== undefined && before.rotation.phase !== after.rotation?.phase) {
      const step =
        after.rotation === undefined ? "the old root is retired" : "every agent trusts the new root: it issues";
      const { confirmed, excused } = before.rotation;
      log.info({ confirmed: confirmed.length + done.length, excused }, `rotation of the root: ${step}`);
    }
  }

  /** Nodes that have done their part; why others have not is kept for whoever looks. */
  async #ask(rotation: RootRotation, nodes: readonly string[]): Promise<string[]> {
    const next = rootsOf(rotation.phase === "trust" ? rotation.other : this.#deps.authority.state.issuer);
    const reasons = new Map<string, string>();
    const done: string[] = [];
    for (let first = 0; first < nodes.length; first += atOnce) {
      const some = nodes.slice(first, first + atOnce);
      await Promise.all(
        some.map(async (node) => {
          const why = await this.#missing(node, rotation, next);
          if (why === undefined) done.push(node);
          else reasons.set(node, why);
        }),
      );
    }
    this.#reasons = reasons;
    return done;
  }

  async #missing(node: string, { phase }: RootRotation, next: readonly X509Certificate[]): Promise<string | undefined> {
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(this.#options.answerMs)]);
    try {
      const held = await this.#deps.agents.certificates(node, "", signal);
      if (held === undefined) return "its agent is not connected";
      if (held.length === 0) return "its agent has no certificate yet";
      for (const certificate of held) {
        const why = lacks(phase, certificate, next);
        if (why !== undefined) return why;
      }
      return undefined;
    } catch (error) {
      return `its agent does not answer: ${messageOf(error)}`;
    }
  }
}

function rootsOf({ roots }: Issuer): X509Certificate[] {
  return pemBlocks(roots, "CERTIFICATE").map((pem) => new X509Certificate(pem));
}
