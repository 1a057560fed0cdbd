/** Looks at the mesh again and again and prints what moved in between. */
import { setTimeout as delay } from "node:timers/promises";
import type { MeshView } from "../../model/mesh.ts";
import { coloursFor, listingDocument, partialText, renderListing, tellPartial } from "../output/listing.ts";
import type { ListFormat } from "../output/mesh-flags.ts";
import type { AskOptions } from "../query/asked.ts";
import type { MeshClient } from "../query/mesh-client.ts";
import { isAway } from "../query/replica.ts";
import { checkNamespace, findWorkloads } from "../query/workload-reference.ts";
import { gatherTraffic } from "./gather.ts";
import { remembered, type TopRow, topListing, topRows } from "./rates.ts";

export interface TopOptions extends AskOptions {
  readonly reference: string | undefined;
  readonly namespace: string | undefined;
  readonly intervalMs: number;
  /** 0 for no end. */
  readonly looks: number;
  /** JSON is one document a line and look. */
  readonly output: ListFormat;
  readonly redraw: boolean;
  readonly color: boolean;
}

const clearScreen = "\u001b[H\u001b[2J";

/** Resolves to the exit code of the last look. */
export async function followTop(mesh: MeshClient, options: TopOptions, signal: AbortSignal): Promise<number> {
  const { intervalMs, looks, output, redraw, nodes = [], timeoutMs } = options;
  const asking = { nodes, window: 0, ...(timeoutMs === undefined ? {} : { timeoutMs }) };
  const look = async () => ({ seen: await gatherTraffic(mesh, asking, signal), at: performance.now() });
  const first = await look();
  let before = { rows: remembered(new Map(), first.seen.rows), at: first.at };
  let code = 0;
  for (let shown = 1; ; shown++) {
    await delay(intervalMs, undefined, { signal });
    let view: MeshView;
    let now: Awaited<ReturnType<typeof look>>;
    try {
      view = await mesh.mesh(signal);
      now = await look();
    } catch (error) {
      if (!isAway(error) || signal.aborted) throw error;
      process.stderr.write(`${error.message}\n`);
      if (shown === looks) return 3;
      continue;
    }
    if (shown === 1 && options.namespace !== undefined) checkNamespace(view, options.namespace);
    const wanted = filterOf(view, options, mesh.defaultNamespace);
    const rows = topRows(view, before.rows, now.seen.rows, (now.at - before.at) / 1000).filter(wanted);
    const { outcome } = now.seen;
    const listed = { rows, outcome, extra: { at: new Date().toISOString() } };
    if (output === "json" || output === "jsonl") {
      process.stdout.write(`${JSON.stringify(listingDocument(topListing, listed))}\n`);
    } else {
      const text = await renderListing(topListing, listed, output, coloursFor(options));
      const lead = output === "yaml" ? "---\n" : redraw ? clearScreen : "";
      if (text !== "" || output === "table" || output === "wide")
        process.stdout.write(`${lead}${text === "" ? topListing.none : text}\n`);
    }
    code = redraw && outcome.failures.length > 0 ? tellBelow(partialText(outcome)) : tellPartial(outcome);
    if (shown === looks) return code;
    before = { rows: remembered(before.rows, now.seen.rows), at: now.at };
  }
}

function tellBelow(text: string): number {
  process.stdout.write(`\n${text}\n`);
  return 3;
}

function filterOf(view: MeshView, { reference, namespace }: TopOptions, home: string): (row: TopRow) => boolean {
  if (reference !== undefined) {
    const meant = findWorkloads(view, reference, namespace ?? home);
    const owners = new Set(meant.map((one) => `${one.namespace}/${one.owner.kind}/${one.owner.name}`));
    return ({ source, destination }) =>
      [source, destination].some((end) => owners.has(`${end.namespace}/${end.owner}`));
  }
  return ({ source, destination }) =>
    namespace === undefined || [source, destination].some((end) => end.namespace === namespace);
}
