/**
 * The demo's ledger: every line that it prints is a check that ran, with the measurement it rests on. A check that throws is a
 * failed check, never the end of the demo: what comes after it may still hold.
 */
import { messageOf } from "../../lib/errors.ts";

export interface Check {
  readonly name: string;
  readonly ok: boolean;
  /** What was measured, or what went wrong. */
  readonly detail: string;
}

/** Thrown by a check that measured something other than what it promises. */
export class CheckFailed extends Error {
  constructor(measured: string) {
    super(measured);
    this.name = "CheckFailed";
  }
}

/** Fails the check unless the measurement is as promised. */
export function expectThat(holds: boolean, measured: string): asserts holds {
  if (!holds) throw new CheckFailed(measured);
}

export interface ChecklistDeps {
  /** Called once per check, in order. */
  readonly onCheck: (check: Check) => void;
  readonly onScene: (title: string) => void;
  /** What a command that a person can type printed. */
  readonly onOutput?: (command: string, lines: readonly string[]) => void;
}

export class Checklist {
  readonly checks: Check[] = [];
  readonly #deps: ChecklistDeps;

  constructor(deps: ChecklistDeps) {
    this.#deps = deps;
  }

  get ok(): boolean {
    return this.checks.length > 0 && this.checks.every((check) => check.ok);
  }

  /** A chapter of checks; what it needs beside them and does not get is a failed line of its own. */
  async scene(title: string, play: () => Promise<void>): Promise<void> {
    this.#deps.onScene(title);
    try {
      await play();
    } catch (error) {
      this.#record({ name: `${title}: could not go on`, ok: false, detail: messageOf(error) });
    }
  }

  /** Runs a measurement; its answer is the detail of the line. */
  async check(name: string, measure: () => Promise<string>): Promise<void> {
    try {
      this.#record({ name, ok: true, detail: await measure() });
    } catch (error) {
      this.#record({ name, ok: false, detail: messageOf(error) });
    }
  }

  /** Shows what a command printed, before the check that rests on it. */
  show(command: string, lines: readonly string[]): void {
    this.#deps.onOutput?.(command, lines);
  }

  #record(check: Check): void {
    this.checks.push(check);
    this.#deps.onCheck(check);
  }
}
