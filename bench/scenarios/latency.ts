/** Small requests: one at a time, and on a schedule that does not wait. */

import type { Bed } from "../bed.ts";
import { percentile } from "../histogram.ts";
import { assertMostlySucceeded, histogramOf, numberOf, runLoad } from "../lab/load.ts";
import { echoPort } from "../lab/manifests.ts";
import { splitProcessors } from "../lab/processors.ts";
import type { Histogram, Noise } from "../model.ts";
import {
  apart,
  type Context,
  everywhere,
  noAgents,
  type Pace,
  type ScenarioMeasure,
  type TrafficScenario,
} from "./scenario.ts";
import { loudest } from "./throughput.ts";

const requestBytes = 1024;
const openLoopConnections = 16;
const microsecond = 1e3;
const millisecond = 1e6;

export function pingPong(): TrafficScenario {
  const measures = ([50, 99] as const).flatMap((share): ScenarioMeasure[] => [
    {
      name: `pingpong_p${share}`,
      unit: "µs",
      better: "less",
      what: `1 KiB there and back on one connection, one request at a time, ${share}th percentile`,
    },
    {
      name: `pingpong_added_p${share}`,
      unit: "µs",
      better: "less",
      what: "the same, less what direct took in the same round",
      addedTo: `pingpong_p${share}`,
    },
  ]);
  return {
    name: "pingpong",
    quick: true,
    recipe: apart,
    kind: "pods",
    sameNode: false,
    freshBeds: false,
    measures,
    unsuited: everywhere,
    measure: async (bed, { pace: { latencySeconds: seconds }, signal }) => {
      await bed.bind(splitProcessors());
      const target = bed.target(echoPort);
      const { noise, latency } = await bed.observe(async () => {
        const report = await runLoad(bed, "pingpong", { target, size: requestBytes, seconds }, seconds, signal);
        assertMostlySucceeded("ping-pong", report, numberOf(report, "requests"));
        return { latency: histogramOf(report, "latency") };
      });
      return {
        values: { pingpong_p50: at(latency, 0.5, microsecond), pingpong_p99: at(latency, 0.99, microsecond) },
        histograms: { pingpong: latency },
        noise,
      };
    },
  };
}

export function openLoop({ openLoopShares }: Pace): TrafficScenario {
  const shares = openLoopShares.map((share) => ({ share, label: String(Math.round(share * 100)) }));
  const measures = shares.flatMap(({ label }): ScenarioMeasure[] => [
    ...([50, 90, 99, 99.9] as const).map(
      (centile): ScenarioMeasure => ({
        name: `openloop_${label}_p${centile}`,
        unit: "ms",
        better: "less",
        what: `1 KiB requests on a fixed schedule at ${label} % of the knee, ${centile}th percentile counted from when each was due`,
      }),
    ),
    {
      name: `openloop_${label}_cpu_per_1k`,
      unit: "CPU-s/1000",
      better: "less",
      what: `processor time of both agents per 1000 requests at ${label} % of the knee`,
      absent: noAgents,
    },
  ]);
  return {
    name: "openloop",
    quick: true,
    recipe: apart,
    kind: "pods",
    sameNode: false,
    freshBeds: false,
    measures,
    unsuited: everywhere,
    measure: async (bed, context) => {
      const knee = await context.knee();
      const values: Record<string, number> = {};
      const histograms: Record<string, Histogram> = {};
      const noise: Noise[] = [];
      for (const { share, label } of shares) {
        const run = await runOpenLoop(
          bed,
          Math.max(1, Math.round(knee * share)),
          context.pace.openLoopSeconds,
          context.signal,
        );
        for (const centile of [50, 90, 99, 99.9])
          values[`openloop_${label}_p${centile}`] = at(run.latency, centile / 100, millisecond);
        if (bed.hasAgents) values[`openloop_${label}_cpu_per_1k`] = run.agentSeconds / (run.sent / 1000);
        histograms[`openloop_${label}`] = run.latency;
        noise.push(run.noise);
      }
      return { values, histograms, noise: loudest(noise) };
    },
  };
}

export interface OpenLoopRun {
  readonly latency: Histogram;
  /** Warm-up included, as in the processor time. */
  readonly sent: number;
  /** 1 when the work was done when the schedule was. */
  readonly achieved: number;
  readonly unanswered: number;
  readonly agentSeconds: number;
  readonly noise: Noise;
}

export async function runOpenLoop(bed: Bed, rate: number, seconds: number, signal: AbortSignal): Promise<OpenLoopRun> {
  const split = splitProcessors();
  // A generator that is not on time measures itself. With one processor for everybody it must not take it from the agents.
  await bed.bind(split && { ...split, realTime: true });
  const options = { target: bed.target(echoPort), size: requestBytes, connections: openLoopConnections, rate, seconds };
  return bed.observe(async () => {
    const report = await runLoad(bed, "openloop", options, seconds, signal);
    assertMostlySucceeded(`open loop at ${rate}/s`, report, numberOf(report, "requests"));
    return {
      latency: histogramOf(report, "latency"),
      sent: numberOf(report, "sent"),
      achieved: numberOf(report, "achieved"),
      unanswered: numberOf(report, "unanswered"),
    };
  });
}

/** A rate is kept up when answers do not fall behind the schedule: a single stall of the machine must not decide that. */
const keptUp = { achieved: 0.95, share: 0.9, withinMs: 10 } as const;
const bisections = 4;

/** The highest rate that a bed keeps up, found between a quarter of what it does in a closed loop and all of that. */
export async function findKnee(
  bed: Bed,
  { pace: { kneeSeconds: seconds }, signal }: Pick<Context, "pace" | "signal">,
): Promise<number> {
  await bed.bind(splitProcessors());
  const options = { target: bed.target(echoPort), size: requestBytes, connections: openLoopConnections, seconds };
  const report = await runLoad(bed, "pingpong", options, seconds, signal);
  const capacity = numberOf(report, "requests") / numberOf(report, "seconds");
  const holds = async (rate: number) => {
    // Tried again once: on a shared machine a rate that is kept up may fail by accident, one that is not never succeeds by accident.
    for (let attempt = 0; attempt < 2; attempt += 1) {
      const { latency, achieved } = await runOpenLoop(bed, rate, seconds, signal);
      if (achieved >= keptUp.achieved && at(latency, keptUp.share, millisecond) <= keptUp.withinMs) return true;
    }
    return false;
  };
  return bisect(capacity / 4, capacity, bisections, holds);
}

/** The highest value found to hold, whole; `low` is taken to hold. */
export async function bisect(
  low: number,
  high: number,
  steps: number,
  holds: (value: number) => Promise<boolean>,
): Promise<number> {
  let [good, bad] = [Math.round(low), Math.round(high)];
  for (let step = 0; step < steps; step += 1) {
    const middle = Math.round((good + bad) / 2);
    if (await holds(middle)) good = middle;
    else bad = middle;
  }
  return good;
}

function at(histogram: Histogram, share: number, unit: number): number {
  return (percentile(histogram, share) ?? Number.NaN) / unit;
}
