/** Every scenario there is, in the order in which they run: those that share beds stand together. */

import { idleMemory } from "./scenarios/idle-memory.ts";
import { openLoop, pingPong } from "./scenarios/latency.ts";
import { connectLatency, warmFlows } from "./scenarios/new-flows.ts";
import type { Pace, Scenario } from "./scenarios/scenario.ts";
import { throughput } from "./scenarios/throughput.ts";

export function catalogue(pace: Pace): readonly Scenario[] {
  return [throughput(pace), pingPong(), openLoop(pace), warmFlows(), connectLatency(), idleMemory()];
}
