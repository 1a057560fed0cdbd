/** New connections: how many, and how long one takes. */
import { percentile } from "../histogram.ts";
import { assertMostlySucceeded, histogramOf, numberOf, runLoad } from "../lab/load.ts";
import { echoPort } from "../lab/manifests.ts";
import { splitProcessors } from "../lab/processors.ts";
import { apart, everywhere, plain, type ScenarioMeasure, type TrafficScenario } from "./scenario.ts";

export function warmFlows(): TrafficScenario {
  return {
    name: "flows",
    quick: true,
    recipe: plain,
    kind: "pods",
    sameNode: false,
    freshBeds: false,
    measures: [
      {
        name: "warm_flows_per_s",
        unit: "flows/s",
        better: "more",
        what: "connect, one byte there and back, close, 16 at a time, over tunnels that are up",
      },
    ],
    unsuited: everywhere,
    prepare: async (bed, { signal }) => {
      await runLoad(bed, "flows", { target: bed.target(echoPort), seconds: 0.5 }, 0.5, signal);
    },
    measure: async (bed, { pace: { flowsSeconds: seconds }, signal }) => {
      await bed.bind(undefined);
      const target = bed.target(echoPort);
      const { noise, flows } = await bed.observe(async () => {
        const report = await runLoad(bed, "flows", { target, seconds }, seconds, signal);
        assertMostlySucceeded("new flows", report, numberOf(report, "flows"));
        return { flows: numberOf(report, "flows") };
      });
      return { values: { warm_flows_per_s: flows / seconds }, noise };
    },
  };
}

/** One after the other, so that a connection waits for nothing but itself. */
export function connectLatency(): TrafficScenario {
  const measures = (["connect", "first_byte"] as const).flatMap((what) =>
    ([50, 99] as const).flatMap((share): ScenarioMeasure[] => [
      {
        name: `${what}_p${share}`,
        unit: "µs",
        better: "less",
        what:
          what === "connect"
            ? `until connect(2) has succeeded, which captured is the pod's own agent's doing, ${share}th percentile`
            : `until the first byte is back from the server on a new connection over a warm tunnel, ${share}th percentile`,
      },
      {
        name: `${what}_added_p${share}`,
        unit: "µs",
        better: "less",
        what: "the same, less what direct took in the same round",
        addedTo: `${what}_p${share}`,
      },
    ]),
  );
  return {
    name: "connect",
    quick: false,
    recipe: apart,
    kind: "pods",
    sameNode: false,
    freshBeds: false,
    measures,
    unsuited: everywhere,
    measure: async (bed, { pace: { flowsSeconds: seconds }, signal }) => {
      await bed.bind(splitProcessors());
      const options = { target: bed.target(echoPort), concurrency: 1, seconds };
      const { noise, connect, total } = await bed.observe(async () => {
        const report = await runLoad(bed, "flows", options, seconds, signal);
        assertMostlySucceeded("connections", report, numberOf(report, "flows"));
        return { connect: histogramOf(report, "connect"), total: histogramOf(report, "latency") };
      });
      const microseconds = (share: number, of: typeof connect) => (percentile(of, share) ?? Number.NaN) / 1e3;
      return {
        values: {
          connect_p50: microseconds(0.5, connect),
          connect_p99: microseconds(0.99, connect),
          first_byte_p50: microseconds(0.5, total),
          first_byte_p99: microseconds(0.99, total),
        },
        histograms: { connect, first_byte: total },
        noise,
      };
    },
  };
}
