/** One row without AES-NI: what the processor's instructions for AES are worth, measured instead of claimed. */
import { withoutAesInstructions } from "../lab/aes-mask.ts";
import { runIperf } from "../lab/iperf.ts";
import { pair } from "../lab/manifests.ts";
import type { Scenario } from "./scenario.ts";

export function maskedAes(): Scenario {
  return {
    name: "masked",
    quick: false,
    recipe: { name: "masked", cast: pair, agentEnvironment: withoutAesInstructions },
    kind: "pods",
    sameNode: false,
    freshBeds: false,
    measures: [
      {
        name: "masked_throughput_1",
        unit: "Gbit/s",
        better: "more",
        what: `iperf3, 1 stream, agents with OPENSSL_ia32cap=${withoutAesInstructions.OPENSSL_ia32cap}`,
      },
      {
        name: "masked_cpu_per_gb",
        unit: "CPU-s/GB",
        better: "less",
        what: "processor time of both agents per 10⁹ bytes, the same agents",
      },
    ],
    unsuited: {
      direct: "it encrypts nothing",
      peer: "the mask is for our agents: what a peer encrypts with is its own affair",
    },
    prepare: async (bed, { signal }) => {
      await runIperf(bed, { streams: 1, reverse: false, seconds: 1 }, signal);
    },
    measure: async (bed, { pace: { throughputSeconds: seconds }, signal }) => {
      const done = await bed.observe(() => runIperf(bed, { streams: 1, reverse: false, seconds }, signal));
      return {
        values: {
          masked_throughput_1: done.gbitPerSecond,
          masked_cpu_per_gb: done.agentSeconds / (done.bytes / 1e9),
        },
        noise: done.noise,
      };
    },
  };
}
