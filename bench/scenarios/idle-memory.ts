/** What connections cost that only lie there, and whether their memory comes back. */
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { AgentProbe } from "../lab/agent.ts";
import type { LabBed, Recipe } from "../lab/bed.ts";
import { settled, until } from "../lab/conditions.ts";
import { assertMostlySucceeded, loadCommand, numberOf, parseReport, runLoad } from "../lab/load.ts";
import { echoPort, pair } from "../lab/manifests.ts";
import { type Context, noAgents, type Scenario } from "./scenario.ts";

const openSeconds = 60;
/** Tunnels go soon after their last connection, so that what is left then is what nothing accounts for. */
const recipe: Recipe = { name: "idle", cast: pair, options: { agentSettings: { timeouts: { tunnelIdle: "1s" } } } };
/** Several times that. */
const tunnelsGoMs = 4000;

export function idleMemory(): Scenario {
  const absent = "only our agents count what their engine holds";
  return {
    name: "idle",
    quick: true,
    recipe,
    kind: "pods",
    sameNode: false,
    freshBeds: false,
    measures: [
      {
        name: "bytes_per_idle_flow",
        unit: "bytes",
        better: "less",
        what: "growth of an agent's anonymous memory per idle connection, mean of both ends, after a restart",
      },
      {
        name: "engine_bytes_per_idle_flow",
        unit: "bytes",
        better: "less",
        what: "what the engine itself counts, per idle connection and agent",
        absent,
      },
      {
        name: "engine_bytes_kept",
        unit: "bytes",
        better: "less",
        what: "what the engine counts more than before, per agent, when all of them are closed",
        absent,
      },
      {
        name: "tunnels_kept",
        unit: "tunnels",
        better: "less",
        what: `tunnel ends of both agents still there ${tunnelsGoMs / 1000} s after the last connection, with timeouts.tunnelIdle of 1 s`,
        absent,
      },
      {
        name: "anonymous_kept",
        unit: "%",
        better: "less",
        what: "anonymous memory of an agent after they are closed, above what it was before they were opened",
      },
    ],
    unsuited: { direct: noAgents, peer: undefined },
    measure: async (bed, context) => {
      const { noise, values } = await bed.observe(async () => ({ values: await measureIdle(bed, context) }));
      return { values, noise };
    },
  };
}

async function measureIdle(bed: LabBed, { pace: { idleFlows }, signal }: Context): Promise<Record<string, number>> {
  // What a run before has left in the heap would hide growth.
  if (bed.meshed) await bed.restartAgents(signal);
  await bed.bind(undefined);
  const target = bed.target(echoPort);
  // The code and the buffers of the first connections belong to no connection.
  await runLoad(bed, "idle", { target, flows: 50, deadline: 1 }, 1, signal);
  await atRest(bed, signal);

  const before = await memoryOf(bed, signal);
  const child = bed.spawn(loadCommand(bed, "idle", { target, flows: idleFlows, deadline: openSeconds + 60 }));
  const ended = once(child, "exit");
  try {
    if (child.stdout === null) throw new Error("a child without standard output");
    const [line] = (await once(createInterface({ input: child.stdout }), "line", {
      signal: AbortSignal.any([signal, AbortSignal.timeout((openSeconds + 20) * 1000)]),
    })) as [string];
    const report = parseReport(line, `idle flows in ${bed.variant}: ${line}`);
    assertMostlySucceeded(`${idleFlows} idle flows`, report, numberOf(report, "open"));
    const held = await memoryOf(bed, signal);
    const flows = numberOf(report, "open");

    child.stdin?.end();
    await ended;
    const tunnels = await atRest(bed, signal);
    const after = await memoryOf(bed, signal);
    return {
      bytes_per_idle_flow: (held.anonymous - before.anonymous) / flows,
      anonymous_kept: (after.anonymous / before.anonymous - 1) * 100,
      ...(held.engine !== undefined && {
        engine_bytes_per_idle_flow: (held.engine - (before.engine ?? 0)) / flows,
        engine_bytes_kept: (after.engine ?? 0) - (before.engine ?? 0),
        tunnels_kept: tunnels,
      }),
    };
  } finally {
    child.stdin?.end();
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
  }
}

interface Memory {
  readonly anonymous: number;
  readonly engine: number | undefined;
}

/** Mean of both ends, when it has come to rest. */
async function memoryOf(bed: LabBed, signal: AbortSignal): Promise<Memory> {
  const mean = (of: (agent: AgentProbe) => number) =>
    bed.agents.reduce((sum, agent) => sum + of(agent), 0) / bed.agents.length;
  const anonymous = await settled(() => mean((agent) => agent.memory().anonymous), {
    signal,
    within: 0.002,
    timeoutMs: 4000,
  });
  const counted = await engineCounters(bed, "memoryBytes");
  return { anonymous, engine: counted.length === 0 ? undefined : counted.reduce((a, b) => a + b, 0) / counted.length };
}

/** No flow, and no tunnel either if they keep to their limit; the number of tunnels that stay. A peer is not asked. */
async function atRest(bed: LabBed, signal: AbortSignal): Promise<number> {
  const none = (counter: string) => async () => (await engineCounters(bed, counter)).every((count) => count === 0);
  await until("flows to end", none("flowsOpen"), { signal, timeoutMs: 30_000 });
  await until("tunnels to end", none("tunnelsOpen"), { signal, timeoutMs: tunnelsGoMs }).catch(() => {
    signal.throwIfAborted();
  });
  return (await engineCounters(bed, "tunnelsOpen")).reduce((sum, count) => sum + count, 0);
}

async function engineCounters(bed: LabBed, name: string): Promise<number[]> {
  const stats = await Promise.all(bed.agents.map((agent) => agent.stats()));
  return stats.flatMap((of) => of?.engine[name] ?? []);
}
