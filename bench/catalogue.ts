/** Every scenario there is, in the order in which they run: those that share beds stand together. */
import { footprint } from "./scenarios/footprint.ts";
import { idleMemory } from "./scenarios/idle-memory.ts";
import { openLoop, pingPong } from "./scenarios/latency.ts";
import { maskedAes } from "./scenarios/masked-aes.ts";
import { connectLatency, warmFlows } from "./scenarios/new-flows.ts";
import { rotation } from "./scenarios/rotation.ts";
import type { Pace, Scenario } from "./scenarios/scenario.ts";
import { freshSessions } from "./scenarios/sessions.ts";
import { throughput } from "./scenarios/throughput.ts";

export function catalogue(pace: Pace): readonly Scenario[] {
  return [
    throughput(pace),
    pingPong(),
    openLoop(pace),
    warmFlows(),
    connectLatency(),
    idleMemory(),
    rotation(),
    maskedAes(),
    freshSessions("full"),
    freshSessions("resumed"),
    footprint("ebpf"),
    footprint("nftables"),
  ];
}
