/**
 * Keeps the last good state on the disk equal to the one in force: whole once it is complete, then each change by itself. It is written
 * whole again when changes have doubled it, and after a failure.
 */
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import type { AcceptedChange, DiscoveryState } from "./discovery-state.ts";
import type { LastGoodState } from "./last-good-state.ts";

export interface StateKeeperDeps {
  readonly clock: Clock;
  readonly state: DiscoveryState;
  readonly lastGood: LastGoodState;
  /** What is wrong; undefined when nothing is any more. */
  readonly trouble: (message: string | undefined) => void;
}

/** The whole is written this long after what asks for it; later where that takes its time, so that it takes a twentieth of it at most. */
const saveAfterMs = 1000;
const savingShare = 20;
/** After a failure: a disk that is full stays so for a while. */
const retryAfterMs = 30_000;
/** Bytes of changes that wait for the disk; with more than that the whole is written instead. */
const mostWaiting = 16 * 2 ** 20;

export class StateKeeper {
  readonly #deps: StateKeeperDeps;
  /** In order, those not on the disk yet. */
  #waiting: AcceptedChange[] = [];
  #waitingBytes = 0;
  #working: Promise<void> | undefined;
  #cancelSave: (() => void) | undefined;
  /** How long the last one took, milliseconds. */
  #savingTook = 0;
  #failed = false;
  #stopping = false;

  constructor(deps: StateKeeperDeps) {
    this.#deps = deps;
  }

  /** It is in force. */
  changed(change: AcceptedChange): void {
    // Before there is a whole state to append to, the whole one has it.
    if (this.#working === undefined && !this.#deps.lastGood.appendable) {
      this.#scheduleSave();
      return;
    }
    this.#waiting.push(change);
    for (const { length } of change.resources) this.#waitingBytes += length;
    this.#working ??= this.#append().finally(() => this.#rested());
  }

  /** What was heard is on the disk then, or cannot be. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#working;
    if (this.#cancelSave !== undefined) this.#saveNow();
    await this.#working;
    await this.#deps.lastGood.close();
    this.#stopping = false;
  }

  #scheduleSave(): void {
    const after = this.#failed ? retryAfterMs : Math.max(saveAfterMs, this.#savingTook * savingShare);
    this.#cancelSave ??= this.#deps.clock.after(after, () => this.#saveNow());
  }

  #saveNow(): void {
    this.#cancelSave?.();
    this.#cancelSave = undefined;
    // A state of which a part was never heard is nobody's last good one.
    if (!this.#deps.state.complete) return;
    this.#working ??= this.#save().finally(() => this.#rested());
  }

  async #save(): Promise<void> {
    const { clock, lastGood, state, trouble } = this.#deps;
    const began = clock.now();
    // They are in force and so in what is written now. Those that come meanwhile follow it: said twice they mean the same.
    this.#forget();
    try {
      await lastGood.save(state, began);
    } catch (error) {
      this.#failed = true;
      trouble(`the state cannot be saved: ${messageOf(error)}`);
      return;
    }
    this.#failed = false;
    this.#savingTook = clock.now() - began;
    trouble(undefined);
    await this.#append();
  }

  async #append(): Promise<void> {
    const { clock, lastGood, trouble } = this.#deps;
    try {
      while (this.#waiting.length > 0 && this.#waitingBytes <= mostWaiting) {
        const changes = this.#waiting;
        this.#forget();
        if (!(await lastGood.append(changes, clock.now()))) break;
      }
    } catch (error) {
      this.#failed = true;
      trouble(`the state cannot be saved: ${messageOf(error)}`);
    }
    if (this.#waitingBytes > mostWaiting) await lastGood.close();
  }

  #rested(): void {
    this.#working = undefined;
    const { lastGood } = this.#deps;
    if (lastGood.appendable) {
      if (this.#waiting.length > 0) this.#working = this.#append().finally(() => this.#rested());
      return;
    }
    // A whole one says all that waits, too.
    this.#forget();
    if (!this.#stopping) this.#scheduleSave();
  }

  #forget(): void {
    this.#waiting = [];
    this.#waitingBytes = 0;
  }
}
