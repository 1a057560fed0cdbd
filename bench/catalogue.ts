/** Every scenario there is, in the order in which they run: those that share beds stand together. */
import { bareRelay } from "./scenarios/bare-relay.ts";
import { commandStart } from "./scenarios/command-start.ts";
import { enforcement } from "./scenarios/enforcement.ts";
import { footprint } from "./scenarios/footprint.ts";
import { httpRules } from "./scenarios/http-rules.ts";
import { idleMemory } from "./scenarios/idle-memory.ts";
import { openLoop, pingPong } from "./scenarios/latency.ts";
import { maskedAes } from "./scenarios/masked-aes.ts";
import { connectLatency, warmFlows } from "./scenarios/new-flows.ts";
import { placed, sameNode } from "./scenarios/placed.ts";
import { policyDecisions } from "./scenarios/policy-decisions.ts";
import { rotation } from "./scenarios/rotation.ts";
import { scale } from "./scenarios/scale.ts";
import type { Pace, ProgramScenario, Scenario, TrafficScenario } from "./scenarios/scenario.ts";
import { scrape } from "./scenarios/scrape.ts";
import { freshSessions } from "./scenarios/sessions.ts";
import { tapCost } from "./scenarios/tap-cost.ts";
import { throughput } from "./scenarios/throughput.ts";

/** Those that need no more than a client, a server and traffic between them. */
export function trafficScenarios(pace: Pace): readonly TrafficScenario[] {
  return [throughput(pace), warmFlows(), pingPong(), openLoop(pace), connectLatency()];
}

export function catalogue(pace: Pace): readonly (Scenario | ProgramScenario)[] {
  const neighbourly = { ...pace, streams: pace.streams.filter((count) => count <= 8) };
  return [
    ...trafficScenarios(pace),
    ...[throughput(neighbourly), pingPong(), warmFlows(), connectLatency()].map((one) => placed(one, sameNode)),
    idleMemory(),
    httpRules(),
    rotation(),
    maskedAes(),
    freshSessions("full"),
    freshSessions("resumed"),
    footprint("ebpf"),
    footprint("nftables"),
    bareRelay(),
    policyDecisions(),
    commandStart(),
    tapCost(),
    enforcement(),
    scrape(),
    scale(),
  ];
}
