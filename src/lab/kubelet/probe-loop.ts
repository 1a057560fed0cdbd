/** Repeats one probe of one container and says when its verdict changes. */
import type { Probe } from "../cluster/objects.ts";
import { initialVerdict, judge, type ProbeVerdict } from "./probe-verdict.ts";

/** A lab is waited for: until its first success a readiness probe does not wait for its whole period. */
const eagerPeriodMs = 100;

export class ProbeLoop {
  readonly #probe: Probe;
  readonly #kind: "readiness" | "liveness" | "startup";
  readonly #ask: () => Promise<boolean>;
  readonly #onVerdict: (healthy: boolean) => void;
  #verdict: ProbeVerdict;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  #everHealthy = false;

  constructor(
    deps: { readonly ask: () => Promise<boolean>; readonly onVerdict: (healthy: boolean) => void },
    options: { readonly probe: Probe; readonly kind: "readiness" | "liveness" | "startup" },
  ) {
    this.#ask = deps.ask;
    this.#onVerdict = deps.onVerdict;
    this.#probe = options.probe;
    this.#kind = options.kind;
    this.#verdict = initialVerdict(options.kind);
  }

  start(): void {
    this.#schedule(this.#probe.initialDelaySeconds * 1000);
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #schedule(delayMs: number): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => void this.#tick(), delayMs);
    this.#timer.unref();
  }

  async #tick(): Promise<void> {
    const ok = await this.#ask();
    if (this.#stopped) return;
    const before = this.#verdict.healthy;
    this.#verdict = judge(this.#verdict, ok, this.#probe);
    this.#everHealthy ||= this.#verdict.healthy === true;
    const period = this.#probe.periodSeconds * 1000;
    const eager = this.#kind === "readiness" && !this.#everHealthy;
    this.#schedule(eager ? Math.min(eagerPeriodMs, period) : period);
    if (this.#verdict.healthy !== undefined && this.#verdict.healthy !== before) this.#onVerdict(this.#verdict.healthy);
  }
}
