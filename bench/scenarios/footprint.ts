/** What an agent weighs at rest and with fifty pods, and how long a pod takes into the mesh, by either backend of capture. */

import { MeshError } from "../../src/lib/errors.ts";
import type { AgentMemory } from "../lab/agent.ts";
import type { LabBed } from "../lab/bed.ts";
import { settled, until } from "../lab/conditions.ts";
import { clientNode, idlePods, pair } from "../lab/manifests.ts";
import { noAgents, type Scenario, type ScenarioMeasure } from "./scenario.ts";

const pods = 50;
const serviceAccounts = 10;
const metricsPort = 15_020;
const mebibyte = 2 ** 20;

type Backend = "ebpf" | "nftables";

export function footprint(backend: Backend): Scenario {
  const memory: readonly ScenarioMeasure[] = [
    {
      name: "agent_anonymous",
      unit: "MiB",
      better: "less",
      what: "anonymous memory of an agent with one pod, at rest",
    },
    {
      name: "agent_resident",
      unit: "MiB",
      better: "less",
      what: "resident memory of an agent with one pod, at rest: files included, of Node's what it has used since its start",
    },
    {
      name: "agent_anonymous_50_pods",
      unit: "MiB",
      better: "less",
      what: `the same agent's anonymous memory with ${pods} pods more`,
    },
    {
      name: "memory_per_pod",
      unit: "KiB",
      better: "less",
      what: `growth of its anonymous memory per pod, of ${serviceAccounts} service accounts`,
    },
  ];
  const enrolment: ScenarioMeasure = {
    name: `enrolment_${backend}`,
    unit: "ms",
    better: "less",
    what: `from the start of a pod's enrolment to its confirmed capture by ${backend}, mean of ${pods} pods that come at once`,
  };
  return {
    name: backend === "ebpf" ? "footprint" : `footprint-${backend}`,
    quick: false,
    recipe: { name: `footprint-${backend}`, cast: pair, options: { backend } },
    kind: "pods",
    sameNode: false,
    freshBeds: true,
    measures: backend === "ebpf" ? [...memory, enrolment] : [enrolment],
    unsuited: { direct: noAgents, peer: "a peer enrols no pods" },
    measure: async (bed, { signal }) => {
      const { noise, values } = await bed.observe(async () => ({
        values: await measureFootprint(bed, backend, signal),
      }));
      return { values, noise };
    },
  };
}

async function measureFootprint(bed: LabBed, backend: Backend, signal: AbortSignal): Promise<Record<string, number>> {
  const agent = bed.agents.find(({ node }) => node === clientNode);
  if (agent === undefined) throw new MeshError("MESH_BENCH_NO_AGENT", `no agent runs on ${clientNode}`);
  const rest = async (): Promise<AgentMemory> => {
    await settled(() => agent.memory().anonymous, { signal, within: 0.005, timeoutMs: 5000 });
    return agent.memory();
  };
  const before = { memory: await rest(), enrolments: await enrolments(bed, backend) };
  await bed.lab.apply(idlePods(pods, serviceAccounts));
  const enrolled = async () => (await enrolments(bed, backend)).count - before.enrolments.count >= pods;
  await until(`${pods} pods to be enrolled by ${backend}`, enrolled, { signal, timeoutMs: 60_000 });
  const after = { memory: await rest(), enrolments: await enrolments(bed, backend) };
  const seconds = after.enrolments.seconds - before.enrolments.seconds;
  const milliseconds = (seconds / (after.enrolments.count - before.enrolments.count)) * 1000;
  if (backend !== "ebpf") return { [`enrolment_${backend}`]: milliseconds };
  return {
    agent_anonymous: before.memory.anonymous / mebibyte,
    agent_resident: before.memory.resident / mebibyte,
    agent_anonymous_50_pods: after.memory.anonymous / mebibyte,
    memory_per_pod: (after.memory.anonymous - before.memory.anonymous) / pods / 1024,
    [`enrolment_${backend}`]: milliseconds,
  };
}

interface Enrolments {
  readonly count: number;
  readonly seconds: number;
}

/** As the clients' agent has counted them. */
async function enrolments(bed: LabBed, backend: Backend): Promise<Enrolments> {
  const { body } = await bed.lab.node(clientNode).prober.get("127.0.0.1", metricsPort, "/metrics", 5000);
  return enrolmentsIn(body, backend);
}

/** From a text of Prometheus' exposition format. */
export function enrolmentsIn(metrics: string, backend: string): Enrolments {
  const value = (suffix: string) => {
    const line = new RegExp(
      `^warren_enrolment_duration_seconds_${suffix}\\{[^}]*backend="${backend}"[^}]*\\} (\\S+)$`,
      "m",
    );
    return Number(line.exec(metrics)?.[1] ?? 0);
  };
  return { count: value("count"), seconds: value("sum") };
}
