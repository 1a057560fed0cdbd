/**
 * Runs scenarios: beds for each recipe, rounds interleaved over the variants, every failure a reason in the report. A bed that does
 * not come up, or a variant that fails twice in a row, takes nothing from the others; nor does a bed whose turn it is not: it rests.
 */
import { MeshError } from "../src/lib/errors.ts";
import type { Bed } from "./bed.ts";
import { type Recipe, whyNot } from "./lab/bed.ts";
import { noiseBetween, readMachineTime } from "./lab/processors.ts";
import { type Absence, type Environment, isBuiltIn, type Sample, type Variant } from "./model.ts";
import { findKnee } from "./scenarios/latency.ts";
import { type Context, columnsOf, type Pace, type ProgramScenario, type Scenario } from "./scenarios/scenario.ts";

export interface RunnerOptions<B extends Bed> {
  readonly scenarios: readonly (Scenario<B> | ProgramScenario)[];
  readonly variants: readonly Variant[];
  /** Resolves when traffic can flow; leaves nothing behind when it fails. */
  readonly up: (recipe: Recipe, variant: Variant, signal: AbortSignal) => Promise<B>;
  readonly rounds: number;
  readonly pace: Pace;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
}

export interface RunResults {
  readonly samples: readonly Sample[];
  readonly absences: readonly Absence[];
  readonly knee: Environment["knee"];
  readonly mtu: number | undefined;
  /** Of the first bed that came up. */
  readonly realTime: boolean | undefined;
}

/** A failure after which the same variant would most likely fail again. */
const failuresInARow = 2;

export class Runner<B extends Bed> {
  readonly #options: RunnerOptions<B>;
  readonly #samples: Sample[] = [];
  readonly #absences: Absence[] = [];
  /** Of the recipe that is being used, and why a variant has none. */
  #beds = new Map<Variant, B>();
  #without = new Map<Variant, string>();
  #recipe: string | undefined;
  #mtu: number | undefined;
  #realTime: boolean | undefined;
  #knee: Promise<{ variant: Variant; requestsPerSecond: number }> | undefined;

  constructor(options: RunnerOptions<B>) {
    this.#options = options;
  }

  async run(): Promise<RunResults> {
    try {
      for (const scenario of this.#options.scenarios) {
        this.#options.say(`${scenario.name}: ${scenario.measures.length} measures, ${this.#options.rounds} rounds`);
        await (scenario.kind === "pods" ? this.#pods(scenario) : this.#program(scenario));
      }
    } finally {
      await this.#clear();
    }
    return {
      samples: this.#samples,
      absences: this.#absences,
      knee: await this.#knee?.catch(() => undefined),
      mtu: this.#mtu,
      realTime: this.#realTime,
    };
  }

  /** Programs hold their variants against each other themselves, within a round. */
  async #program(scenario: ProgramScenario): Promise<void> {
    const { signal, say } = this.#options;
    const rounds = Math.min(this.#options.rounds, scenario.mostRounds ?? Infinity);
    const variants = columnsOf(scenario, this.#options.variants);
    await this.#turnOf(undefined);
    let failures = 0;
    for (let round = 1; round <= rounds && failures < failuresInARow && variants.length > 0; round += 1) {
      signal.throwIfAborted();
      const before = readMachineTime();
      try {
        const results = await scenario.measure(interleaved(variants, round), { signal, say });
        // Which of the processes of the machine were the scenario's own nobody counted.
        const noise = { ...noiseBetween(before, readMachineTime(), 0), foreign: undefined };
        for (const [variant, { values, histograms = {} }] of results) {
          this.#samples.push({ scenario: scenario.name, variant, round, values, histograms, noise });
          this.#told(round, variant, values);
        }
        failures = 0;
      } catch (error) {
        signal.throwIfAborted();
        failures += 1;
        for (const variant of variants) this.#absent(scenario, variant, `round ${round} failed: ${whyNot(error)}`);
      }
    }
  }

  #told(round: number, variant: Variant, values: Sample["values"]): void {
    const figures = Object.entries(values).map(([name, value]) => `${name} ${Number(value.toPrecision(3))}`);
    this.#options.say(`  round ${round} ${variant}: ${figures.slice(0, 8).join(", ")}`);
  }

  async #pods(scenario: Scenario<B>): Promise<void> {
    const { rounds, signal } = this.#options;
    const suited = columnsOf(scenario, this.#options.variants).filter((variant) => {
      const reason = this.#unsuited(scenario, variant);
      if (reason !== undefined) this.#absent(scenario, variant, reason);
      return reason === undefined;
    });
    if (scenario.freshBeds) {
      await this.#clear();
      const failures = new Map<Variant, number>();
      for (let round = 1; round <= rounds; round += 1)
        for (const variant of interleaved(suited, round)) {
          if ((failures.get(variant) ?? 0) >= failuresInARow) continue;
          const bed = await this.#up(scenario.recipe, variant);
          if (typeof bed === "string") {
            this.#absent(scenario, variant, bed);
            failures.set(variant, failuresInARow);
            continue;
          }
          try {
            const ok = (await this.#prepare(scenario, bed)) && (await this.#round(scenario, bed, round));
            failures.set(variant, ok ? 0 : (failures.get(variant) ?? 0) + 1);
          } finally {
            await bed.down();
          }
        }
      return;
    }
    await this.#bedsFor(scenario.recipe, suited);
    const failures = new Map<Variant, number>();
    for (const variant of suited) {
      const bed = this.#beds.get(variant);
      if (bed === undefined) this.#absent(scenario, variant, this.#without.get(variant) ?? "its lab did not come up");
      else if (!(await this.#prepare(scenario, bed))) failures.set(variant, failuresInARow);
    }
    for (let round = 1; round <= rounds; round += 1)
      for (const variant of interleaved(suited, round)) {
        signal.throwIfAborted();
        const bed = this.#beds.get(variant);
        const failed = failures.get(variant) ?? 0;
        if (bed === undefined || failed >= failuresInARow) continue;
        failures.set(variant, (await this.#round(scenario, bed, round)) ? 0 : failed + 1);
      }
  }

  async #prepare(scenario: Scenario<B>, bed: B): Promise<boolean> {
    return this.#try(scenario, bed.variant, "preparation", async () => {
      await this.#turnOf(bed);
      await scenario.prepare?.(bed, this.#context(bed));
    });
  }

  async #round(scenario: Scenario<B>, bed: B, round: number): Promise<boolean> {
    const { variant } = bed;
    return this.#try(scenario, variant, `round ${round}`, async () => {
      await this.#turnOf(bed);
      const { values, histograms = {}, noise } = await scenario.measure(bed, this.#context(bed));
      this.#samples.push({ scenario: scenario.name, variant, round, values, histograms, noise });
      this.#told(round, variant, values);
    });
  }

  /** False when it failed; an interruption ends the run. */
  async #try(scenario: Scenario<B>, variant: Variant, what: string, act: () => Promise<void>): Promise<boolean> {
    try {
      await act();
      return true;
    } catch (error) {
      this.#options.signal.throwIfAborted();
      this.#absent(scenario, variant, `${what} failed: ${whyNot(error)}`);
      return false;
    }
  }

  #absent(scenario: Pick<Scenario, "name">, variant: Variant, reason: string): void {
    this.#absences.push({ scenario: scenario.name, variant, reason });
    this.#options.say(`  ${variant}: ${reason}`);
  }

  #unsuited({ unsuited }: Pick<Scenario, "unsuited">, variant: Variant): string | undefined {
    if (variant === "direct") return unsuited.direct;
    return isBuiltIn(variant) ? undefined : unsuited.peer;
  }

  #context(bed: B): Context {
    const { pace, signal } = this.#options;
    return {
      pace,
      signal,
      knee: async () => {
        this.#knee ??= this.#findKnee(bed);
        return (await this.#knee).requestsPerSecond;
      },
    };
  }

  /** All others rest while a bed is measured. */
  async #turnOf(bed: B | undefined): Promise<void> {
    for (const other of this.#beds.values()) if (other !== bed) await other.rest?.();
    await bed?.wake?.(this.#options.signal);
  }

  /** Of the TypeScript engine; where it is not among the variants, of the first that is, so that rates are the same for all of them. */
  async #findKnee(current: B): Promise<{ variant: Variant; requestsPerSecond: number }> {
    const { pace, signal, say } = this.#options;
    const beds = [...this.#beds.values()];
    const bed = this.#beds.get("typescript") ?? beds.find(({ variant }) => variant !== "direct") ?? beds[0];
    if (bed === undefined) throw new MeshError("MESH_BENCH_NO_BED", "no variant runs in which a knee could be found");
    await this.#turnOf(bed);
    const requestsPerSecond = await findKnee(bed, { pace, signal });
    await this.#turnOf(current);
    say(`  knee of ${bed.variant}: ${requestsPerSecond} requests/s`);
    return { variant: bed.variant, requestsPerSecond };
  }

  async #bedsFor(recipe: Recipe, variants: readonly Variant[]): Promise<void> {
    if (this.#recipe !== recipe.name) await this.#clear();
    this.#recipe = recipe.name;
    for (const variant of variants) {
      if (this.#beds.has(variant) || this.#without.has(variant)) continue;
      const bed = await this.#up(recipe, variant);
      if (typeof bed === "string") this.#without.set(variant, bed);
      else this.#beds.set(variant, bed);
    }
  }

  /** A reason when it does not come up. */
  async #up(recipe: Recipe, variant: Variant): Promise<B | string> {
    const { signal } = this.#options;
    signal.throwIfAborted();
    try {
      const bed = await this.#options.up(recipe, variant, signal);
      this.#mtu ??= await bed.mtu();
      this.#realTime ??= bed.realTime;
      return bed;
    } catch (error) {
      signal.throwIfAborted();
      return `its lab did not come up: ${whyNot(error)}`;
    }
  }

  async #clear(): Promise<void> {
    const beds = [...this.#beds.values()];
    this.#beds = new Map();
    this.#without = new Map();
    this.#recipe = undefined;
    await Promise.all(beds.map((bed) => bed.down()));
  }
}

/** Every second round in reverse: what drifts with time then drifts for all alike. */
export function interleaved<T>(variants: readonly T[], round: number): readonly T[] {
  return round % 2 === 1 ? variants : variants.toReversed();
}
