/** How every node is: what its agent says of itself, joined with the certificates it holds. */
import type { Status, Status_Backend, Status_Headroom } from "../../xds/gen/warren/inspect/v1/inspect_pb.ts";
import type { Listing } from "../output/listing.ts";
import { isoTime, spanText, unixMs } from "../output/words.ts";
import { type AskOptions, type NodeMessage, type Outcome, rowsOf } from "./asked.ts";
import type { ControlRow } from "./control-rows.ts";
import type { MeshClient } from "./mesh-client.ts";

export interface Headroom {
  readonly used: number;
  readonly limit: number;
}

export interface NodeStatus {
  readonly node: string;
  /** False for an agent that is not heard; then the rest is empty. */
  readonly answered: boolean;
  readonly ready: boolean;
  readonly blockers: readonly string[];
  readonly version: string;
  readonly startedAt: string;
  readonly engine: string;
  /** Number of pods by state. */
  readonly pods: Readonly<Record<string, number>>;
  readonly flows: number;
  readonly tunnels: number;
  /** Of the certificate that ends first; empty when there is none. */
  readonly firstCertificateEnds: string;
  readonly mesh: { readonly epoch: number; readonly changedAt: string; readonly source: string };
  readonly problems: readonly string[];
  readonly runtime: {
    readonly node: string;
    readonly openssl: string;
    readonly fips: boolean;
    readonly aes: string;
    readonly memory: number;
    readonly descriptors: Headroom;
    readonly inotifyInstances: Headroom;
  };
  readonly kernel: {
    readonly release: string;
    readonly backends: readonly {
      readonly name: string;
      readonly usable: boolean;
      readonly missing: readonly string[];
    }[];
    readonly conntrack: Headroom | undefined;
  };
  readonly captureStats: Readonly<Record<string, number>>;
  readonly logLevel: string;
  /** By how much its clock is ahead of control's, and by how much that may be wrong, milliseconds. */
  readonly clock: { readonly aheadMs: number; readonly uncertainMs: number };
  /** Why it did not answer. */
  readonly failure: string;
}

export async function nodeStatuses(
  mesh: MeshClient,
  options: AskOptions,
  signal: AbortSignal,
): Promise<{ readonly rows: readonly NodeStatus[]; readonly outcome: Outcome }> {
  const statuses = mesh.ask({ case: "getStatus", value: {} }, options, signal);
  const certificates = mesh.ask({ case: "listCertificates", value: {} }, options, signal);
  const [found, ends] = await Promise.all([
    rowsOf(statuses, "status", (status, message) => [{ status, message }]),
    rowsOf(certificates, "certificates", (page, { node }) =>
      page.certificates.flatMap(({ notAfter }) => (notAfter === undefined ? [] : [{ node, ends: unixMs(notAfter) }])),
    ),
  ]);
  const { outcome } = statuses;
  const rows = outcome.asked.map((node): NodeStatus => {
    const heard = found.find(({ message }) => message.node === node);
    const first = Math.min(...ends.filter((one) => one.node === node).map((one) => one.ends));
    if (heard === undefined) {
      return silent(node, outcome.failures.find((failure) => failure.node === node)?.message ?? "it did not answer");
    }
    return nodeStatus(heard.status, heard.message, Number.isFinite(first) ? new Date(first).toISOString() : "");
  });
  return { rows, outcome };
}

export function nodeStatus(status: Status, message: NodeMessage, firstCertificateEnds: string): NodeStatus {
  const { mesh, runtime, kernel, now, blockers, pods } = status;
  const { askedAt, receivedAt, node } = message;
  return {
    node,
    answered: true,
    ready: blockers.length === 0 && Object.entries(pods).every(([state, count]) => state !== "failed" || count === 0),
    blockers,
    version: status.version,
    startedAt: isoTime(status.startedAt),
    engine: status.engine,
    pods,
    flows: Number(status.flows),
    tunnels: Number(status.tunnels),
    firstCertificateEnds,
    mesh: { epoch: Number(mesh?.epoch ?? 0n), changedAt: isoTime(mesh?.changedAt), source: mesh?.source ?? "" },
    problems: mesh?.problems ?? [],
    runtime: {
      node: runtime?.node ?? "",
      openssl: runtime?.openssl ?? "",
      fips: runtime?.fips ?? false,
      aes: runtime?.aes ?? "",
      memory: Number(runtime?.memory ?? 0n),
      descriptors: headroom(runtime?.descriptors),
      inotifyInstances: headroom(runtime?.inotifyInstances),
    },
    kernel: {
      release: kernel?.release ?? "",
      backends: (kernel?.backends ?? []).map(backend),
      conntrack: kernel?.conntrack === undefined ? undefined : headroom(kernel.conntrack),
    },
    captureStats: status.captureStats,
    logLevel: status.logLevel,
    // As NTP has it (RFC 5905 §8): the answer was made somewhere between the question and its arrival.
    clock: {
      aheadMs: now === undefined ? 0 : Math.round(unixMs(now) - (askedAt + receivedAt) / 2),
      uncertainMs: Math.ceil((receivedAt - askedAt) / 2),
    },
    failure: "",
  };
}

function backend({ name, usable, missing }: Status_Backend) {
  return { name, usable, missing };
}

function headroom(value: Status_Headroom | undefined): Headroom {
  return { used: Number(value?.used ?? 0n), limit: Number(value?.limit ?? 0n) };
}

function silent(node: string, failure: string): NodeStatus {
  const none = { used: 0, limit: 0 };
  return {
    node,
    answered: false,
    ready: false,
    blockers: [],
    version: "",
    startedAt: "",
    engine: "",
    pods: {},
    flows: 0,
    tunnels: 0,
    firstCertificateEnds: "",
    mesh: { epoch: 0, changedAt: "", source: "" },
    problems: [],
    runtime: { node: "", openssl: "", fips: false, aes: "", memory: 0, descriptors: none, inotifyInstances: none },
    kernel: { release: "", backends: [], conntrack: undefined },
    captureStats: {},
    logLevel: "",
    clock: { aheadMs: 0, uncertainMs: 0 },
    failure,
  };
}

export function unreadyControls(controls: readonly ControlRow[]): readonly ControlRow[] {
  return controls.filter(({ blockers }) => blockers.length > 0);
}

const since = (time: string) => (time === "" ? "" : spanText(Date.now() - Date.parse(time)));

/** `5/6 captured` */
export function podsText(pods: Readonly<Record<string, number>>): string {
  const all = Object.values(pods).reduce((sum, count) => sum + count, 0);
  return `${pods["captured"] ?? 0}/${all}`;
}

export const statusListing: Listing<NodeStatus> = {
  schema: "warren.status/v1",
  items: "nodes",
  columns: [
    { title: "NODE", cell: ({ node }) => node },
    { title: "VERSION", cell: ({ version }) => version },
    {
      title: "READY",
      cell: ({ answered, ready, blockers }) =>
        !answered ? "no answer" : ready ? "yes" : `no${blockers.length === 0 ? "" : ` (${blockers.join(", ")})`}`,
      style: ({ ready }, colours) => (ready ? colours.green : colours.red),
    },
    { title: "PODS", cell: ({ answered, pods }) => (answered ? podsText(pods) : "") },
    { title: "CONNECTIONS", cell: ({ answered, flows }) => (answered ? String(flows) : "") },
    { title: "TUNNELS", cell: ({ answered, tunnels }) => (answered ? String(tunnels) : "") },
    {
      title: "CERT LEFT",
      cell: ({ firstCertificateEnds: ends }) => (ends === "" ? "" : spanText(Date.parse(ends) - Date.now())),
    },
    { title: "CONFIG AGE", cell: ({ mesh }) => since(mesh.changedAt) },
    { title: "UP", cell: ({ startedAt }) => since(startedAt) },
    { title: "ENGINE", cell: ({ engine }) => engine, wide: true },
    { title: "CONFIG FROM", cell: ({ mesh }) => mesh.source, wide: true },
    { title: "PROBLEMS", cell: ({ problems }) => String(problems.length), wide: true },
    { title: "LOG LEVEL", cell: ({ logLevel }) => logLevel, wide: true },
  ],
  name: ({ node }) => `node/${node}`,
  none: "no agents are known: nothing is enrolled, and none has connected",
};
