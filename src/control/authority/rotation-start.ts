/**
 * Begins rotations of the root: when an operator asks, and by itself when a part of the root's life is over, years before anybody would
 * have to hurry. Every replica of control looks at its clock, and none leads: the state is changed in the version that was read, and a
 * rotation that is in it is not begun again. An intermediate needs none of this: it is renewed at half life.
 */
import { X509Certificate } from "node:crypto";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { pemBlocks } from "../../lib/pem.ts";
import type { Authority } from "./authority.ts";
import type { AuthorityState } from "./authority-state.ts";
import { withSignedLists } from "./revocations.ts";
import { begin } from "./root-rotation.ts";

export interface RotationStartDeps {
  readonly authority: Pick<Authority, "state" | "change" | "onChange" | "nextIssuer">;
  readonly clock: Clock;
  readonly log: { info(fields: object, message: string): void; error(fields: object, message: string): void };
}

export interface RotationStartOptions {
  /** Part of the root's life after which a rotation begins; 1 for never. */
  readonly rotateAt: number;
  /** How far roots are dated back: no part of their life. */
  readonly backdateMs: number;
  /** True where plug-in certificates are configured: their root is whoever's gives them. */
  readonly follows: () => boolean;
}

/** How often a beginning that failed is tried again; there is a part of a life left. */
const retryMs = 60_000;

export class RotationStart {
  readonly #deps: RotationStartDeps;
  readonly #options: RotationStartOptions;
  #forget: (() => void) | undefined;
  #cancel: () => void = () => {};
  #stopped = false;

  constructor(deps: RotationStartDeps, options: RotationStartOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** Call when the authority and the state of the mesh are there. */
  start(): void {
    this.#forget ??= this.#deps.authority.onChange(() => this.#schedule(0));
    this.#schedule(0);
  }

  /** May be called twice. */
  stop(): void {
    this.#stopped = true;
    this.#forget?.();
    this.#cancel();
  }

  /** When a rotation begins by itself, Unix time in milliseconds; Infinity for never, and while one is under way. */
  get due(): number {
    return this.#dueOf(this.#deps.authority.state);
  }

  /** Resolves to whether it was this call that began one: nothing is changed while one is under way, of whoever's making. */
  async begin(): Promise<boolean> {
    return await this.#begin(() => true);
  }

  async #begin(still: (state: AuthorityState) => boolean): Promise<boolean> {
    const { authority, clock } = this.#deps;
    const next = await authority.nextIssuer();
    const state = await authority.change((before) => {
      const after = still(before) ? begin(before, next, clock.now()) : before;
      return after === before ? before : withSignedLists(after, clock.now());
    });
    return state.rotation?.other === next;
  }

  #dueOf({ issuer, rotation }: AuthorityState): number {
    const { rotateAt, backdateMs, follows } = this.#options;
    const [pem] = pemBlocks(issuer.roots, "CERTIFICATE");
    if (rotateAt >= 1 || follows() || rotation !== undefined || issuer.rootKey === "" || pem === undefined)
      return Infinity;
    const { validFromDate, validToDate } = new X509Certificate(pem);
    const [begins, ends] = [validFromDate.getTime() + backdateMs, validToDate.getTime()];
    return begins + (ends - begins) * rotateAt;
  }

  #schedule(atLeastMs: number): void {
    this.#cancel();
    const { due } = this;
    if (this.#stopped || due === Infinity) return;
    const delayMs = Math.max(due - this.#deps.clock.now(), atLeastMs);
    this.#cancel = this.#deps.clock.after(delayMs, () => void this.#beginDue());
  }

  async #beginDue(): Promise<void> {
    const { clock, log } = this.#deps;
    try {
      const due = (state: AuthorityState) => this.#dueOf(state) <= clock.now();
      if (await this.#begin(due)) {
        const { rotateAt } = this.#options;
        log.info({ rotateAt }, "rotation of the root: it begins by itself, for the root has lived long enough");
      }
    } catch (error) {
      if (this.#stopped) return;
      log.error({ error }, `the rotation of the root that is due cannot begin: ${messageOf(error)}`);
      this.#schedule(retryMs);
    }
  }
}
