/** A cluster of many pods: what its state costs control and an agent, and how long a change takes through both while pods come and go. */
import { runProgram } from "../programs/run-program.ts";
import type { ProgramResult, ProgramScenario, ScenarioMeasure } from "./scenario.ts";

const sizes = new Map([
  ["10k", 10_000],
  ["150k", 150_000],
]);
const policies = 10_000;
const localPods = 250;
const seconds = 15;
const mebibyte = 2 ** 20;

interface Memory {
  readonly anonymous: number;
  readonly resident: number;
}

interface Loop {
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly p99CpuMs: number;
  readonly maxCpuMs: number;
}

interface Result {
  readonly load: { readonly controlMs: number; readonly agentMs: number };
  readonly memory: { readonly atRest: { readonly agent: Memory; readonly control: Memory } };
  readonly loop: Readonly<Record<"controlLoading" | "agentLoading" | "controlChurning" | "agentChurning", Loop>>;
  readonly enforcementMs: { readonly p50: number; readonly p99: number };
}

export function scale(): ProgramScenario {
  const measures: readonly ScenarioMeasure[] = [
    less("scale_control_load", "s", "start of control until it is ready: lists, translation, encoding"),
    less("scale_agent_load", "s", "start of the agent until the first state is in force"),
    less("scale_agent_anonymous", "MiB", "anonymous memory of the agent at rest"),
    less("scale_agent_resident", "MiB", "resident memory of the agent at rest, files included"),
    less("scale_control_anonymous", "MiB", "anonymous memory of control at rest"),
    {
      ...less(
        "scale_bytes_per_workload",
        "bytes",
        "growth of the agent's anonymous memory per workload from 10k to 150k",
      ),
      absent: "it is the slope between the two sizes, and stands with the larger",
    },
    less("scale_agent_loop_load", "ms", "longest that the agent's event loop was blocked during the first load"),
    less("scale_agent_turn_load", "ms", "processor time of the longest turn of the agent's event loop in that"),
    less("scale_agent_loop_p99", "ms", "delay of the agent's event loop under churn, 99th percentile"),
    less("scale_agent_turn_churn", "ms", "processor time of the longest turn of the agent's event loop under churn"),
    less("scale_control_loop_p99", "ms", "delay of control's event loop under churn, 99th percentile"),
    less("scale_control_turn_churn", "ms", "processor time of the longest turn of control's event loop under churn"),
    less(
      "scale_enforcement_p50",
      "ms",
      "write of a policy until it is in force in the agent, under churn, 50th percentile",
    ),
    less(
      "scale_enforcement_p99",
      "ms",
      "write of a policy until it is in force in the agent, under churn, 99th percentile",
    ),
  ];
  return {
    name: "scale",
    kind: "program",
    quick: false,
    // Both sizes together take some minutes.
    mostRounds: 3,
    variants: [...sizes.keys()],
    measures,
    measure: async (variants, { signal, say }) => {
      const results = new Map<string, Result>();
      for (const variant of variants) {
        say(`  ${variant}: a cluster is being made`);
        const args = ["--workloads", String(sizes.get(variant)), "--policies", String(policies)];
        args.push("--pods", String(localPods), "--seconds", String(seconds));
        results.set(variant, await runProgram<Result>("scale", args, { timeoutMs: 20 * 60_000, signal }));
      }
      return figures(results);
    },
  };
}

function less(name: string, unit: string, what: string): ScenarioMeasure {
  const cluster = `${policies} policies, ${localPods} pods on the node`;
  return {
    name,
    unit,
    better: "less",
    what: `${what}; ${cluster}, 1 % of all pods replaced per second where there is churn`,
  };
}

function figures(results: ReadonlyMap<string, Result>): ReadonlyMap<string, ProgramResult> {
  const [small, large] = ["10k", "150k"].map((name) => results.get(name)?.memory.atRest.agent.anonymous);
  const found = [...results].map(([variant, { load, memory, loop, enforcementMs }]): [string, ProgramResult] => {
    const { agent, control } = memory.atRest;
    const values = {
      scale_control_load: load.controlMs / 1000,
      scale_agent_load: load.agentMs / 1000,
      scale_agent_anonymous: agent.anonymous / mebibyte,
      scale_agent_resident: agent.resident / mebibyte,
      scale_control_anonymous: control.anonymous / mebibyte,
      scale_agent_loop_load: loop.agentLoading.maxMs,
      scale_agent_turn_load: loop.agentLoading.maxCpuMs,
      scale_agent_turn_churn: loop.agentChurning.maxCpuMs,
      scale_control_turn_churn: loop.controlChurning.maxCpuMs,
      scale_agent_loop_p99: loop.agentChurning.p99Ms,
      scale_control_loop_p99: loop.controlChurning.p99Ms,
      scale_enforcement_p50: enforcementMs.p50,
      scale_enforcement_p99: enforcementMs.p99,
    };
    if (variant !== "150k" || small === undefined || large === undefined) return [variant, { values }];
    const more = (sizes.get("150k") ?? 0) - (sizes.get("10k") ?? 0);
    return [variant, { values: { ...values, scale_bytes_per_workload: (large - small) / more } }];
  });
  return new Map(found);
}
