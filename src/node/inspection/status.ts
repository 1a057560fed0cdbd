/** How the agent is, in one message: what `warren status`, `version` and `check` show of a node. */
import { getFips } from "node:crypto";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { KernelSupport } from "../../capture/capture.ts";
import { readMachine } from "../../lib/machine.ts";
import type { MeshView } from "../../model/mesh.ts";
import type { StatusSchema } from "../../xds/gen/warren/inspect/v1/inspect_pb.ts";
import { wireTime } from "../../xds/wire-time.ts";
import type { PodRow } from "../pod-enrolment.ts";

export interface StatusSources {
  readonly version: string;
  /** Unix times in milliseconds. */
  readonly startedAt: number;
  now(): number;
  meshChangedAt(): number;
  readonly meshSource: "control" | "folder";
  view(): MeshView;
  problems(): readonly object[];
  pods(): readonly PodRow[];
  blockers(): readonly { readonly name: string; readonly forMs: number }[];
  stats(): object;
  /** Empty, or undefined, until the agent has come that far. */
  engineKind(): string;
  kernel(): KernelSupport | undefined;
  counters(): { readonly engine: Readonly<Record<string, number>>; readonly capture: Readonly<Record<string, number>> };
  logLevel(): string;
}

export async function describeStatus(sources: StatusSources): Promise<MessageInitShape<typeof StatusSchema>> {
  const { engine, capture } = sources.counters();
  const kernel = sources.kernel();
  const machine = await readMachine();
  const pods: Record<string, number> = {};
  for (const { state } of sources.pods()) pods[state] = (pods[state] ?? 0) + 1;
  return {
    version: sources.version,
    startedAt: wireTime(sources.startedAt),
    blockers: sources.blockers().map(({ name }) => name),
    engine: sources.engineKind(),
    mesh: {
      epoch: BigInt(sources.view().epoch),
      changedAt: wireTime(sources.meshChangedAt()),
      source: sources.meshSource,
      problems: sources.problems().map((problem) => JSON.stringify(problem)),
    },
    pods,
    flows: BigInt(engine["flowsOpen"] ?? 0),
    tunnels: BigInt(engine["tunnelsOpen"] ?? 0),
    runtime: {
      node: process.version,
      openssl: process.versions.openssl ?? "",
      fips: getFips() === 1,
      aes: machine.aes,
      memory: BigInt(process.memoryUsage.rss()),
      descriptors: headroom(machine.descriptors),
      inotifyInstances: headroom(machine.inotifyInstances),
    },
    kernel: {
      release: kernel?.release ?? machine.release,
      backends: Object.entries(kernel?.backends ?? {}).map(([name, { usable, missing }]) => {
        return { name, usable, missing: [...missing] };
      }),
      ...(machine.conntrack === undefined ? {} : { conntrack: headroom(machine.conntrack) }),
    },
    engineStats: { ...engine },
    captureStats: { ...capture },
    logLevel: sources.logLevel(),
    // Last: the reading above takes time, and clocks are compared by this.
    now: wireTime(sources.now()),
  };
}

function headroom({ used, limit }: { readonly used: number; readonly limit: number }) {
  return { used: BigInt(used), limit: BigInt(limit) };
}
