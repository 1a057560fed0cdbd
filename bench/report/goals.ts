/** What we have set ourselves: the native engine against the TypeScript engine, and everything else that has a bound. Pure. */
import { type BenchDocument, localVariant, type RatioName, type Row, ratioNames, type Variant } from "../model.ts";
import { toDirect } from "./figures.ts";

export interface Goal {
  readonly name: string;
  readonly value: number | null;
  /** Written behind the value. */
  readonly unit: string;
  readonly wants: string;
  /** Undefined where there is nothing to judge. */
  readonly met: boolean | undefined;
  /** Of a value that is not there. */
  readonly reason: string;
  /** False where its scenario was not among those asked for. */
  readonly tried: boolean;
}

interface Bound {
  readonly atLeast?: number;
  readonly atMost?: number;
}

/** What the native engine is to reach against the TypeScript engine. */
const ratioBounds: Readonly<Record<RatioName, Bound>> = {
  throughput_1: { atLeast: 2 },
  throughput_8: { atLeast: 2 },
  cpu_per_gb: { atMost: 0.5 },
  warm_flows_per_s: { atLeast: 3 },
  pingpong_added_p50: { atMost: 0.6 },
  openloop_p99: { atMost: 0.5 },
  // Its goal is absolute: see below.
  bytes_per_idle_flow: {},
};

export function ratioGoals({ ratios, reasons }: BenchDocument): readonly Goal[] {
  return ratioNames.map((name) => goal(name, ratios[name], "×", ratioBounds[name], reasons[name]));
}

interface Aim extends Bound {
  readonly name: string;
  readonly unit: string;
  readonly scenario: string;
  /** The row that holds the reason when there is no figure. */
  readonly measure: string;
  readonly variant: Variant;
  /** Default: the figure itself. */
  readonly value?: (row: Row, of: (measure: string) => Row | undefined) => number | undefined;
}

const aims: readonly Aim[] = [
  {
    name: "throughput of 1 stream, of direct",
    unit: "×",
    scenario: "throughput",
    measure: "throughput_1",
    variant: "warren",
    atLeast: 0.35,
    value: (row) => toDirect(row, "warren"),
  },
  ...[1, 8].map(
    (flows): Aim => ({
      name: `TypeScript engine over a bare relay on node:http2, ${flows} ${flows === 1 ? "connection" : "connections"}`,
      unit: "×",
      scenario: "relay",
      measure: `relay_${flows}`,
      variant: "typescript engine",
      atLeast: 0.8,
      value: (row) => ratio(row.medians["typescript engine"], row.medians["bare http2"]),
    }),
  ),
  {
    name: "engine's bytes per idle flow and agent",
    unit: " bytes",
    scenario: "idle",
    measure: "engine_bytes_per_idle_flow",
    variant: "warren",
    atMost: 1536,
  },
  {
    name: "agent at rest, anonymous memory",
    unit: " MiB",
    scenario: "footprint",
    measure: "agent_anonymous",
    variant: "warren",
    atMost: 50,
  },
  {
    name: "agent at rest, resident memory",
    unit: " MiB",
    scenario: "footprint",
    measure: "agent_resident",
    variant: "warren",
    atMost: 100,
  },
  {
    name: "added by localTraffic auto on one node, of what mTLS adds there (ping-pong, 50th percentile)",
    unit: "×",
    scenario: "samenode-pingpong",
    measure: "samenode_pingpong_added_p50",
    variant: localVariant,
    atMost: 0.5,
    value: (row) => ratio(row.medians[localVariant], row.medians["warren"]),
  },
  {
    name: "processor time of a request that HTTP rules judge, of one carried as bytes",
    unit: "×",
    scenario: "http-rules",
    measure: "http_rules_cpu_per_1k",
    variant: "warren",
    value: (row, of) => ratio(row.medians["warren"], of("http_bytes_cpu_per_1k")?.medians["warren"]),
  },
  {
    name: "decision among 10 000 policies, 99th percentile: linear scan over index",
    unit: "×",
    scenario: "policy",
    measure: "decision_p99",
    variant: "index",
    atLeast: 20,
    value: (row) => ratio(row.medians["scan"], row.medians["index"]),
  },
  {
    name: "policy change to the end of a flow in the agent, 99th percentile",
    unit: " ms",
    scenario: "enforcement",
    measure: "enforcement_p99",
    variant: "warren",
    atMost: 10,
  },
  {
    name: "agent's memory per workload, from 10 000 to 150 000",
    unit: " bytes",
    scenario: "scale",
    measure: "scale_bytes_per_workload",
    variant: "150k",
    atMost: 450,
  },
  {
    name: "event loop of the agent under churn of 150 000 workloads, 99th percentile",
    unit: " ms",
    scenario: "scale",
    measure: "scale_agent_loop_p99",
    variant: "150k",
    atMost: 20,
  },
];

export function otherGoals({ scenarios }: BenchDocument): readonly Goal[] {
  const of = (measure: string) => scenarios.find(({ name }) => name === measure);
  return aims.map((aim) => {
    const row = of(aim.measure);
    const value =
      row === undefined ? undefined : aim.value === undefined ? row.medians[aim.variant] : aim.value(row, of);
    const reason = row?.reasons[aim.variant] ?? `not measured in this run: --scenario ${aim.scenario}`;
    return { ...goal(aim.name, value ?? null, aim.unit, aim, reason), tried: row !== undefined };
  });
}

/** One sentence for all that nobody asked about; empty when there are none. */
export function untriedGoals(goals: readonly Goal[]): string {
  const untried = goals.filter(({ tried, value }) => !tried && value === null);
  return untried.length === 0 ? "" : `Not measured in this run: ${untried.map(({ name }) => name).join("; ")}.`;
}

function ratio(one: number | null | undefined, other: number | null | undefined): number | undefined {
  return typeof one === "number" && typeof other === "number" && other > 0 ? one / other : undefined;
}

function goal(name: string, value: number | null, unit: string, bound: Bound, reason: string | undefined): Goal {
  const { atLeast, atMost } = bound;
  const wants = atLeast !== undefined ? `≥ ${atLeast}${unit}` : atMost !== undefined ? `≤ ${atMost}${unit}` : "";
  const met =
    value === null || wants === "" ? undefined : value >= (atLeast ?? -Infinity) && value <= (atMost ?? Infinity);
  return { name, value, unit, wants, met, reason: reason ?? "not measured in this run", tried: true };
}
