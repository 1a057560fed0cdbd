/** The words of a report that both its forms share. Pure. */
import type { Environment } from "../model.ts";
import { stealLimit } from "../statistics.ts";

export const limits: readonly string[] = [
  "The lab is network namespaces on one kernel, not a cluster: a hop between nodes is a bridge and two veth pairs instead of a network card.",
  "Clients, servers and both nodes' agents share the processors of one machine, so that throughput with a mesh is bounded by what all of them need together; processor time per byte is the figure that carries over.",
  "Ratios between variants of one run hold; absolute figures hold for this machine in this hour.",
];

export function describeMachine(env: Environment): readonly (readonly [string, string])[] {
  const percent = (share: number) => `${(share * 100).toFixed(1)} %`;
  return [
    ["date", env.date],
    ["processor", `${env.cpu.count} × ${env.cpu.model} (${env.cpu.flags.join(" ") || "no crypto flags"})`],
    ["memory", `${(env.memoryBytes / 2 ** 30).toFixed(1)} GiB`],
    ["kernel", env.kernel],
    ["Node, OpenSSL, nghttp2", `${env.node}, ${env.openssl}, ${env.nghttp2}`],
    ["iperf3", env.iperf3],
    ["MTU of pod links", env.mtu === undefined ? "unknown" : String(env.mtu)],
    [
      "AES-256-GCM, one thread",
      `${env.aes256gcm.plain} GB/s; ${env.aes256gcm.masked} GB/s with AES instructions masked`,
    ],
    ["commit", `${env.commit}${env.changed ? " with changes" : ""}, agents run from ${env.program}`],
    ["rounds", `${env.rounds}${env.quick ? ", quick" : ""}`],
    [
      "processors in latency scenarios",
      env.pinning === undefined ? "shared" : `agents on ${env.pinning.agents}, load on ${env.pinning.load}`,
    ],
    ["knee", env.knee === undefined ? "not needed" : `${env.knee.requestsPerSecond} requests/s (${env.knee.variant})`],
    [
      "other use of the machine meanwhile",
      `${percent(env.noise.foreign)} of all processors by other processes, ${percent(env.noise.steal)} stolen by the hypervisor (medians; rounds above ${percent(stealLimit)} stolen are left out where enough others remain)`,
    ],
  ];
}
