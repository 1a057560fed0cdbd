/** A tap on the whole mesh, until it is stopped: asks every agent, prints what they tell, and says what was left out. */
import type { MeshView } from "../../model/mesh.ts";
import { FlowRole, Security, Verdict } from "../../xds/gen/warren/inspect/v1/inspect_pb.ts";
import { partialText } from "../output/listing.ts";
import type { ListFormat } from "../output/mesh-flags.ts";
import type { MeshClient } from "../query/mesh-client.ts";
import { checkNamespace } from "../query/workload-reference.ts";
import { type Party, partyOf } from "./party.ts";
import { type TapRow, tapLine, tapRow } from "./tap-lines.ts";

export interface TapWanted {
  readonly workload: string | undefined;
  readonly to: string | undefined;
  readonly from: string | undefined;
  readonly namespace: string | undefined;
  readonly port: number | undefined;
  readonly verdict: "allowed" | "refused" | undefined;
  readonly tls: "true" | "false" | undefined;
  readonly proxy: "in" | "out" | undefined;
}

export interface FollowTapDeps {
  readonly mesh: MeshClient;
  readonly told: (line: string) => void;
  readonly advice: (line: string) => void;
}

/** A stream has no table: `table` is a line an event, as `line` is; JSON is one document a line. */
export type TapFormat = ListFormat | "line";

export interface FollowTapOptions {
  readonly nodes: readonly string[];
  readonly wanted: TapWanted;
  readonly maxRate: number;
  readonly maxEvents: number;
  readonly output: TapFormat;
}

/** Resolves to the exit code. */
export async function followTap(
  { mesh, told, advice }: FollowTapDeps,
  { nodes, wanted, maxRate, maxEvents, output }: FollowTapOptions,
  signal: AbortSignal,
): Promise<number> {
  const filter = filterOf(await mesh.mesh(signal), wanted, mesh.defaultNamespace);
  const enough = new AbortController();
  const ask = {
    case: "tap",
    value: { filter: { ...filter, security: securityOf(wanted.tls) }, verdict: verdictOf(wanted.verdict), maxRate },
  } as const;
  const asked = mesh.ask(ask, { nodes, follow: true }, AbortSignal.any([signal, enough.signal]));
  let shown = 0;
  for await (const { node, kind } of asked) {
    if (kind.case !== "tap") continue;
    if (kind.value.dropped > 0n)
      advice(`${node}: ${kind.value.dropped} events were left out; narrow the tap or raise --max-rate`);
    for (const event of kind.value.events) {
      const row = tapRow(node, event);
      if (row === undefined || !isWanted(row, wanted)) continue;
      told(await textOf(row, output));
      shown++;
      if (maxEvents > 0 && shown >= maxEvents) {
        enough.abort(new Error("that were enough"));
        return 0;
      }
    }
  }
  const { outcome } = asked;
  if (outcome.answered.length === 0 && outcome.failures.length > 0) {
    advice(partialText(outcome));
    return 3;
  }
  return 0;
}

async function textOf(row: TapRow, output: TapFormat): Promise<string> {
  const document = { schema: "warren.tap/v1", ...row };
  switch (output) {
    case "json":
    case "jsonl":
      return JSON.stringify(document);
    case "yaml": {
      const { stringify } = await import("yaml");
      return `---\n${stringify(document, { aliasDuplicateObjects: false }).trimEnd()}`;
    }
    case "name":
      return `connection/${row.id}`;
    case "line":
    case "table":
    case "wide":
      return tapLine(row, output === "wide");
  }
}

function filterOf(view: MeshView, wanted: TapWanted, defaultNamespace: string) {
  const { workload, to, from, namespace, port, proxy } = wanted;
  const home = namespace ?? defaultNamespace;
  if (namespace !== undefined) checkNamespace(view, namespace);
  const party = workload === undefined ? undefined : partyOf(view, workload, home);
  const destination = to === undefined ? undefined : partyOf(view, to, home);
  const source = from === undefined ? undefined : partyOf(view, from, home);
  // A workload and where it connects to: then it is the client.
  const client = source ?? (destination === undefined ? undefined : party);
  const either = client === party ? undefined : party;
  const everywhere: Party = { namespace: workload === undefined ? (namespace ?? "") : "", workload: "" };
  return {
    sourceNamespace: client?.namespace ?? "",
    sourceWorkload: client?.workload ?? "",
    destinationNamespace: destination?.namespace ?? "",
    destinationWorkload: destination?.workload ?? "",
    namespace: (either ?? everywhere).namespace,
    workload: (either ?? everywhere).workload,
    destinationPort: port ?? 0,
    // Both inbound roles are the server's side: narrowed once the events are here.
    role: proxy === "out" ? FlowRole.OUTBOUND : FlowRole.UNSPECIFIED,
  };
}

function isWanted({ proxy }: TapRow, wanted: TapWanted): boolean {
  return wanted.proxy === undefined || wanted.proxy === proxy;
}

function securityOf(tls: TapWanted["tls"]): Security {
  if (tls === undefined) return Security.UNSPECIFIED;
  return tls === "true" ? Security.MUTUAL_TLS : Security.NONE;
}

function verdictOf(verdict: TapWanted["verdict"]): Verdict {
  if (verdict === undefined) return Verdict.UNSPECIFIED;
  return verdict === "allowed" ? Verdict.ALLOWED : Verdict.REFUSED;
}
