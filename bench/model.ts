/** What the bench's parts hand to each other: variants, measures, samples and the document that comes out. Plain data. */

/**
 * What a column of figures is of: `direct`, `typescript`, `warren`, `warren-local`, the name of a peer given by `--peer`, or what a
 * scenario without pods holds against each other.
 */
export type Variant = string;

/** The native engine with `localTraffic: auto`; between nodes that is the same as `warren`. */
export const localVariant = "warren-local";
export const builtInVariants = ["direct", "typescript", "warren", localVariant] as const;

/** Chosen by `--variant`; others belong to their scenario. */
export function isBuiltIn(variant: Variant): boolean {
  return (builtInVariants as readonly Variant[]).includes(variant);
}

/** A figure that a scenario takes once per round. */
export interface Measure {
  readonly name: string;
  readonly unit: string;
  readonly better: "more" | "less";
  readonly what: string;
}

/** How loud the machine was while a sample was taken. Shares of all processors' time, 0 … 1. */
export interface Noise {
  /** Taken by the hypervisor for others. */
  readonly steal: number;
  /** Used by processes that do not belong to what is measured; undefined where they cannot be told from those that do. */
  readonly foreign: number | undefined;
}

export interface Sample {
  readonly scenario: string;
  readonly variant: Variant;
  readonly round: number;
  readonly values: Readonly<Record<string, number>>;
  readonly histograms: Readonly<Record<string, Histogram>>;
  readonly noise: Noise;
}

/** Durations in nanoseconds: highest value of a bucket and how many lie in it, ascending. */
export interface Histogram {
  readonly count: number;
  readonly max: number;
  readonly buckets: readonly (readonly [number, number])[];
}

/** Why something has no figure. */
export interface Absence {
  readonly scenario: string;
  readonly variant: Variant;
  readonly reason: string;
}

export const targets = ["lab", "kind", "kubeconfig"] as const;
export type Target = (typeof targets)[number];

export interface Environment {
  readonly date: string;
  readonly target: Target;
  /** What a real cluster says of itself. */
  readonly cluster?: readonly (readonly [string, string])[];
  readonly quick: boolean;
  readonly rounds: number;
  readonly cpu: { readonly model: string; readonly count: number; readonly flags: readonly string[] };
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly node: string;
  readonly openssl: string;
  readonly nghttp2: string;
  readonly iperf3: string;
  /** Of the pods' links; undefined when no lab came up. */
  readonly mtu: number | undefined;
  readonly commit: string;
  readonly changed: boolean;
  /** Whether agents ran what `make` built, the sources, whose types Node strips at start, or a container image. */
  readonly program: "dist" | "src" | "image";
  /** Which processors agents and load had in latency scenarios; empty when there was only one to share. */
  readonly pinning: { readonly agents: string; readonly load: string } | undefined;
  /** Whether the open loop's load had real time, so that it was on time; undefined where nobody binds anything. */
  readonly realTime: boolean | undefined;
  /** One thread of this Node, 16 KiB blocks, GB/s: as it is, and with the mask of the row without AES-NI. */
  readonly aes256gcm: { readonly plain: number; readonly masked: number };
  /** Requests per second up to which the TypeScript engine kept its latency; open-loop rates are shares of it. */
  readonly knee: { readonly variant: Variant; readonly requestsPerSecond: number } | undefined;
  readonly noise: Noise;
}

/** A measure over all rounds. */
export interface Row extends Measure {
  readonly scenario: string;
  readonly medians: Readonly<Record<Variant, number | null>>;
  readonly spreads: Readonly<Record<Variant, Spread | null>>;
  /** Beside each null. */
  readonly reasons: Readonly<Record<Variant, string>>;
}

export interface Spread {
  readonly low: number;
  readonly high: number;
  /** Rounds that counted, and rounds left out because the hypervisor took processors away meanwhile. */
  readonly rounds: number;
  readonly discarded: number;
}

export const ratioNames = [
  "throughput_1",
  "throughput_8",
  "cpu_per_gb",
  "warm_flows_per_s",
  "pingpong_added_p50",
  "openloop_p99",
  "bytes_per_idle_flow",
] as const;
export type RatioName = (typeof ratioNames)[number];

export interface BenchDocument {
  readonly env: Environment;
  readonly scenarios: readonly Row[];
  /** warren over typescript. */
  readonly ratios: Readonly<Record<RatioName, number | null>>;
  /** Why a ratio is null. */
  readonly reasons: Readonly<Partial<Record<RatioName, string>>>;
}
