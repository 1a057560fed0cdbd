/**
 * The rotation of the root, as pure changes of the state: trust → confirm → issue → confirm → retire. No step is skipped and none is
 * taken before its gate is open: the next root issues only when every agent trusts it, the old one is retired only when nothing that an
 * agent uses comes from it. Nodes that somebody decided not to wait for stand in the state by name.
 */
import type { AuthorityState, Issuer, RootRotation } from "./authority-state.ts";

/** What stands before the next step. */
export interface Gate {
  /** Nodes with enrolled pods whose agent was not seen to have done its part. */
  readonly waitingFor: readonly string[];
  /** Unix time in milliseconds before which the step is not taken, whoever has confirmed. */
  readonly notBefore: number;
}

export interface GateOptions {
  /**
   * How long a new root is trusted at least before anything is issued from it, milliseconds: time for a ConfigMap to reach the files
   * that agents check control's own certificate with.
   */
  readonly settleMs: number;
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
  return confirmed === rotation.confirmed ? state : { ...state, rotation: { ...rotation, confirmed } };
}

/** Somebody decided that this phase goes on without `nodes`. */
export function excuse(state: AuthorityState, nodes: readonly string[]): AuthorityState {
  const { rotation } = state;
  if (rotation === undefined) return state;
  const excused = united(rotation.excused, nodes);
  return excused === rotation.excused ? state : { ...state, rotation: { ...rotation, excused } };
}

/** `required`: nodes that have enrolled pods now; one that was removed from the cluster is not waited for. */
export function gateOf(rotation: RootRotation, required: Iterable<string>, { settleMs }: GateOptions): Gate {
  const done = new Set([...rotation.confirmed, ...rotation.excused]);
  return {
    waitingFor: [...required].filter((node) => !done.has(node)).sort(),
    notBefore: rotation.phase === "trust" ? rotation.phaseSince + settleMs : rotation.phaseSince,
  };
}

/** The next step, if its gate is open; else the same state. */
export function advance(state: AuthorityState, gate: Gate, now: number): AuthorityState {
  const { rotation } = state;
  if (rotation === undefined || gate.waitingFor.length > 0 || now < gate.notBefore) return state;
  switch (rotation.phase) {
    case "trust":
      return {
        ...state,
        issuer: rotation.other,
        rotation: { ...rotation, phase: "issue", phaseSince: now, other: state.issuer, confirmed: [], excused: [] },
      };
    case "issue":
      return { ...state, rotation: undefined };
  }
}

function united(some: readonly string[], others: readonly string[]): readonly string[] {
  const all = new Set([...some, ...others]);
  return all.size === some.length ? some : [...all].sort();
}
