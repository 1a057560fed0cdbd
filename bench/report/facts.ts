/** The words of a report that both its forms share. Pure. */
import type { Environment } from "../model.ts";
import { stealLimit } from "../statistics.ts";

export function titleOf({ target }: Environment): string {
  return target === "lab" ? "Bench of the mesh on the lab" : `Bench of the mesh on a cluster (${target})`;
}

/** Above these shares of all processors even ratios are doubtful. */
const loud = { foreign: 0.1, steal: stealLimit } as const;

/** What a reader must know before any figure; undefined on a quiet machine, or where nobody can tell. */
export function noiseWarning({ noise: { foreign = 0, steal } }: Environment): string | undefined {
  if (foreign <= loud.foreign && steal <= loud.steal) return undefined;
  const percent = (share: number) => `${(share * 100).toFixed(0)} %`;
  return `The machine was not quiet: other programs used ${percent(foreign)} of its processors meanwhile, ${percent(steal)} were stolen by the hypervisor. Trust ratios of one run only, and those with care.`;
}

const labLimits: readonly string[] = [
  "The lab is network namespaces on one kernel, not a cluster: a hop between nodes is a bridge and two veth pairs instead of a network card.",
  "Clients, servers and both nodes' agents share the processors of one machine, so that throughput with a mesh is bounded by what all of them need together; processor time per byte is the figure that carries over.",
  "Ratios between variants of one run hold; absolute figures hold for this machine in this hour.",
];

const clusterLimits: readonly string[] = [
  "Clients and servers are pods beside whatever else the cluster runs; nothing is bound to processors and nothing keeps neighbours away.",
  "One engine runs on a node, so that variants are namespaces of one cluster: direct is a namespace without the mesh, warren one with it, and there is no ratio to the TypeScript engine.",
  "Processor time is that of all agents' containers, whatever else of the cluster they carry meanwhile.",
  "Ratios between variants of one run hold; absolute figures hold for this cluster in this hour.",
];

const kindLimits: readonly string[] = [
  "kind's nodes are containers on one kernel: a hop between nodes is a bridge and two veth pairs instead of a network card, and all nodes share the processors of one machine.",
];

export function limitsOf({ target }: Environment): readonly string[] {
  switch (target) {
    case "lab":
      return labLimits;
    case "kind":
      return [...kindLimits, ...clusterLimits];
    case "kubeconfig":
      return clusterLimits;
  }
}

export function describeMachine(env: Environment): readonly (readonly [string, string])[] {
  const percent = (share: number) => `${(share * 100).toFixed(1)} %`;
  return [
    ["date", env.date],
    ...(env.cluster ?? []),
    [
      env.cluster === undefined ? "processor" : "this machine's processor",
      `${env.cpu.count} × ${env.cpu.model} (${env.cpu.flags.join(" ") || "no crypto flags"})`,
    ],
    ["memory", `${(env.memoryBytes / 2 ** 30).toFixed(1)} GiB`],
    ["kernel", env.kernel],
    ["Node, OpenSSL, nghttp2", `${env.node}, ${env.openssl}, ${env.nghttp2}`],
    ["iperf3", env.iperf3],
    ["MTU of pod links", env.mtu === undefined ? "unknown" : String(env.mtu)],
    [
      "AES-256-GCM, one thread",
      `${env.aes256gcm.plain} GB/s; ${env.aes256gcm.masked} GB/s with AES instructions masked`,
    ],
    [
      "commit",
      `${env.commit}${env.changed ? " with changes" : ""}, agents run from ${env.program === "image" ? "an image" : env.program}`,
    ],
    ["rounds", `${env.rounds}${env.quick ? ", quick" : ""}`],
    [
      "processors in latency scenarios",
      env.pinning === undefined
        ? "shared"
        : `agents on ${env.pinning.agents}, load on ${env.pinning.load}${env.realTime === true ? ", in open loops in real time" : ""}`,
    ],
    ["knee", env.knee === undefined ? "not needed" : `${env.knee.requestsPerSecond} requests/s (${env.knee.variant})`],
    [
      "other use of the machine meanwhile",
      `${env.noise.foreign === undefined ? "unknown use" : percent(env.noise.foreign)} of all processors by other processes, ${percent(env.noise.steal)} stolen by the hypervisor (medians; rounds above ${percent(stealLimit)} stolen are left out where enough others remain)`,
    ],
  ];
}
