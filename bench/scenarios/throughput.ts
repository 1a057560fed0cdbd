/** Bulk bytes through one tunnel and through several, and what the agents of both ends spend on them. */
import type { Bed } from "../bed.ts";
import { runIperf } from "../lab/iperf.ts";
import type { Noise } from "../model.ts";
import {
  type Context,
  everywhere,
  noAgents,
  type Pace,
  plain,
  type RoundResult,
  type ScenarioMeasure,
  type TrafficScenario,
} from "./scenario.ts";

interface Run {
  readonly measure: string;
  readonly streams: number;
  readonly reverse: boolean;
}

export function throughput({ streams, directions }: Pace): TrafficScenario {
  const runs = directions.flatMap((direction) =>
    streams.map((count): Run => {
      const reverse = direction === "download";
      return { measure: `throughput_${count}${reverse ? "_reverse" : ""}`, streams: count, reverse };
    }),
  );
  const rates = runs.map(
    ({ measure, streams: count, reverse }): ScenarioMeasure => ({
      name: measure,
      unit: "Gbit/s",
      better: "more",
      what: `iperf3, ${count} ${count === 1 ? "stream" : "streams"}, ${reverse ? "from server to client" : "from client to server"}`,
    }),
  );
  return {
    name: "throughput",
    quick: true,
    recipe: plain,
    kind: "pods",
    sameNode: false,
    freshBeds: false,
    measures: [...rates, cpuPerGb],
    unsuited: everywhere,
    // Tunnels, windows and compiled code as they are in the middle of a day.
    prepare: async (bed, { signal }) => {
      await runIperf(bed, { streams: Math.max(...streams), reverse: false, seconds: 1 }, signal);
    },
    measure: (bed, context) => measureRuns(bed, runs, context),
  };
}

const cpuPerGb: ScenarioMeasure = {
  name: "cpu_per_gb",
  unit: "CPU-s/GB",
  better: "less",
  what: "processor time of both agents per 10⁹ bytes, over all throughput runs of a round",
  absent: noAgents,
};

async function measureRuns(bed: Bed, runs: readonly Run[], { pace, signal }: Context): Promise<RoundResult> {
  const values: Record<string, number> = {};
  let [bytes, agentSeconds] = [0, 0];
  const noise: Noise[] = [];
  await bed.bind(undefined);
  for (const { measure, streams, reverse } of runs) {
    const seconds = pace.throughputSeconds;
    const done = await bed.observe(() => runIperf(bed, { streams, reverse, seconds }, signal));
    values[measure] = done.gbitPerSecond;
    bytes += done.bytes;
    agentSeconds += done.agentSeconds;
    noise.push(done.noise);
  }
  if (bed.hasAgents) values["cpu_per_gb"] = agentSeconds / (bytes / 1e9);
  return { values, noise: loudest(noise) };
}

/** Of several readings in one round. */
export function loudest(readings: readonly Noise[]): Noise {
  return {
    steal: Math.max(0, ...readings.map(({ steal }) => steal)),
    foreign: readings.some(({ foreign }) => foreign === undefined)
      ? undefined
      : Math.max(0, ...readings.map(({ foreign }) => foreign ?? 0)),
  };
}
