/** What a scenario is to the runner, and what a round of it gives. */
import type { Bed } from "../bed.ts";
import type { LabBed, Recipe } from "../lab/bed.ts";
import { pair } from "../lab/manifests.ts";
import { type Histogram, isBuiltIn, localVariant, type Measure, type Noise, type Variant } from "../model.ts";

/** How long, how much: what a quick run and a full run differ in. */
export interface Pace {
  readonly streams: readonly number[];
  readonly directions: readonly ("upload" | "download")[];
  /** Whole: iperf3 knows no fractions. */
  readonly throughputSeconds: number;
  readonly latencySeconds: number;
  readonly flowsSeconds: number;
  /** Shares of the knee. */
  readonly openLoopShares: readonly number[];
  readonly openLoopSeconds: number;
  readonly kneeSeconds: number;
  readonly idleFlows: number;
  readonly rotationSeconds: number;
}

export const quickPace: Pace = {
  streams: [1, 8],
  directions: ["upload"],
  throughputSeconds: 2,
  latencySeconds: 1,
  flowsSeconds: 1,
  openLoopShares: [0.7],
  openLoopSeconds: 1.8,
  kneeSeconds: 0.7,
  idleFlows: 1000,
  rotationSeconds: 8,
};

export const fullPace: Pace = {
  streams: [1, 2, 8, 32],
  directions: ["upload", "download"],
  throughputSeconds: 4,
  latencySeconds: 4,
  flowsSeconds: 4,
  openLoopShares: [0.1, 0.5, 0.7, 0.9],
  openLoopSeconds: 5,
  kneeSeconds: 1.5,
  idleFlows: 10_000,
  rotationSeconds: 15,
};

export interface Context {
  readonly pace: Pace;
  readonly signal: AbortSignal;
  /** Requests per second up to which the slower of our engines keeps its latency, found once per run. */
  knee(): Promise<number>;
}

export interface RoundResult {
  readonly values: Readonly<Record<string, number>>;
  readonly histograms?: Readonly<Record<string, Histogram>>;
  readonly noise: Noise;
}

/** What is measured, and what to say of a variant that has nothing of it. */
export interface ScenarioMeasure extends Measure {
  readonly absent?: string;
  /** The name of another measure, of which this one is what a variant adds to `direct` in the same round. */
  readonly addedTo?: string;
}

interface AnyScenario {
  readonly name: string;
  /** One of the seven ratios needs it. */
  readonly quick: boolean;
  readonly measures: readonly ScenarioMeasure[];
}

/** Measured between pods, variant by variant. Those that ask no more of a bed than `Bed` has run on real clusters too. */
export interface Scenario<B extends Bed = LabBed> extends AnyScenario {
  readonly kind: "pods";
  readonly recipe: Recipe;
  /** Client and server share a node, so that `warren-local` takes part. */
  readonly sameNode: boolean;
  /** A bed of its own for each round, because a round leaves traces. */
  readonly freshBeds: boolean;
  /** Why it makes no sense for plain clusters, or for peers; undefined when it does. */
  readonly unsuited: Readonly<Record<"direct" | "peer", string | undefined>>;
  /** Once per bed, before the first round. */
  prepare?(bed: B, context: Context): Promise<void>;
  measure(bed: B, context: Context): Promise<RoundResult>;
}

export type TrafficScenario = Scenario<Bed>;

/** Measured without pods, by programs of its own that hold things against each other. */
export interface ProgramScenario extends AnyScenario {
  readonly kind: "program";
  /** In the order of their columns. */
  readonly variants: readonly Variant[];
  /** Where a round takes minutes: no more than this many. */
  readonly mostRounds?: number;
  /** One round of those asked for. */
  measure(variants: readonly Variant[], context: ProgramContext): Promise<ReadonlyMap<Variant, ProgramResult>>;
}

export interface ProgramContext {
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
}

export type ProgramResult = Omit<RoundResult, "noise">;

/** Those of the run's variants that a scenario has columns for. */
export function columnsOf(
  scenario: Scenario<never> | ProgramScenario,
  variants: readonly Variant[],
): readonly Variant[] {
  switch (scenario.kind) {
    case "program":
      return scenario.variants.filter((variant) => !isBuiltIn(variant) || variants.includes(variant));
    case "pods":
      return variants.filter((variant) => variant !== localVariant || scenario.sameNode);
  }
}

/** Two pods, mesh as it comes. */
export const plain: Recipe = { name: "plain", cast: pair };
/** The same, agents kept apart from load. */
export const apart: Recipe = { name: "apart", cast: pair, apart: true };

export const everywhere = { direct: undefined, peer: undefined } as const;
export const noAgents = "there are no agents in this variant";
