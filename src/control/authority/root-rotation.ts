/**
 * The rotation of the root, as pure changes of the state: trust → confirm → issue → confirm → retire. No step is skipped and none is
 * taken before its gate is open: the next root issues only when every agent trusts it, the old one is retired only when nothing that an
 * agent uses comes from it. Nodes that somebody decided not to wait for stand in the state by name; who cannot be asked is waited for as
 * long as a certificate of before can last.
 */
import type { AuthorityState, Issuer, RootRotation } from "./authority-state.ts";

/** What stands before the next step. */
export interface Gate {
  /** Nodes with enrolled pods whose agent was not seen to have done its part. */
  readonly waitingFor: readonly string[];
  /** Of these, whose agent was seen to lie behind: they are waited for whatever the time. */
  readonly lagging: readonly string[];
  /** Unix time in milliseconds before which the step is not taken, whoever has confirmed. */
  readonly notBefore: number;
  /**
   * After this nobody else is waited for. No certificate of before the phase is valid then, so whoever has one got it in this phase: with
   * the roots of both in the phase `trust`, from the new root in the phase `issue`. That is how a client confirms which cannot be asked,
   * a ztunnel; and whose certificates have all ended takes part in nothing until it has fetched others.
   */
  readonly opensAt: number;
}

export interface GateOptions {
  /**
   * How long a new root is trusted at least before anything is issued from it, milliseconds: time for a ConfigMap to reach the files
   * that agents check control's own certificate with.
   */
  readonly settleMs: number;
  /** How long a certificate can outlive the moment in which it was issued, milliseconds, by anybody's clock. */
  readonly outlivesMs: number;
}

/** The same state when a rotation is under way. */
export function begin(state: AuthorityState, next: Issuer, now: number): AuthorityState {
  if (state.rotation !== undefined) return state;
  const rotation: RootRotation = {
    phase: "trust",
    startedAt: now,
    phaseSince: now,
    other: next,
    confirmed: [],
    excused: [],
  };
  return { ...state, rotation };
}

/**
 * `nodes` were seen to have done what the phase `seen` asks: another phase, or another rotation, has to see for itself. The same state when
 * that is not new.
 */
export function confirm(state: AuthorityState, seen: RootRotation, nodes: readonly string[]): AuthorityState {
  const { rotation } = state;
  if (rotation?.phase !== seen.phase || rotation.phaseSince !== seen.phaseSince) return state;
  const confirmed = united(rotation.confirmed, nodes);
  if (confirmed === rotation.confirmed) return state;
  const { lagging, ...rest } = rotation;
  return { ...state, rotation: { ...rest, confirmed, ...laggards(lagging?.filter((node) => !nodes.includes(node))) } };
}

/** The agents of `nodes` were asked in the phase `seen`, and have not done their part: their silence later is no sign that they have. */
export function lag(state: AuthorityState, seen: RootRotation, nodes: readonly string[]): AuthorityState {
  const { rotation } = state;
  if (rotation?.phase !== seen.phase || rotation.phaseSince !== seen.phaseSince) return state;
  const known = rotation.lagging ?? [];
  const lagging = united(known, nodes);
  return lagging === known ? state : { ...state, rotation: { ...rotation, lagging } };
}

/** Somebody decided that this phase goes on without `nodes`. */
export function excuse(state: AuthorityState, nodes: readonly string[]): AuthorityState {
  const { rotation } = state;
  if (rotation === undefined) return state;
  const excused = united(rotation.excused, nodes);
  return excused === rotation.excused ? state : { ...state, rotation: { ...rotation, excused } };
}

/** `required`: nodes that have enrolled pods now; one that was removed from the cluster is not waited for. */
export function gateOf(
  rotation: RootRotation,
  required: Iterable<string>,
  { settleMs, outlivesMs }: GateOptions,
): Gate {
  const done = new Set([...rotation.confirmed, ...rotation.excused]);
  const waitingFor = [...required].filter((node) => !done.has(node)).sort();
  const notBefore = rotation.phase === "trust" ? rotation.phaseSince + settleMs : rotation.phaseSince;
  return {
    waitingFor,
    lagging: waitingFor.filter((node) => rotation.lagging?.includes(node) === true),
    notBefore,
    opensAt: Math.max(notBefore, rotation.phaseSince + outlivesMs),
  };
}

/** The next step, if its gate is open; else the same state. */
export function advance(state: AuthorityState, gate: Gate, now: number): AuthorityState {
  const { rotation } = state;
  const heldUp = now < gate.opensAt ? gate.waitingFor : gate.lagging;
  if (rotation === undefined || heldUp.length > 0 || now < gate.notBefore) return state;
  const { startedAt, other } = rotation;
  switch (rotation.phase) {
    case "trust":
      return {
        ...state,
        issuer: other,
        rotation: { phase: "issue", startedAt, phaseSince: now, other: state.issuer, confirmed: [], excused: [] },
      };
    case "issue":
      return { ...state, rotation: undefined };
  }
}

/** Written only where there are some: a replica of an older version reads the state too. */
function laggards(nodes: readonly string[] = []): { readonly lagging?: readonly string[] } {
  return nodes.length === 0 ? {} : { lagging: nodes };
}

function united(some: readonly string[], others: readonly string[]): readonly string[] {
  const all = new Set([...some, ...others]);
  return all.size === some.length ? some : [...all].sort();
}
