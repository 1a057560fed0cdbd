/** Runs a verb that lists: connects, asks, prints, and with `--watch` goes on until it is interrupted. */
import { setTimeout as delay } from "node:timers/promises";
import { connectMesh, type MeshClient } from "../query/mesh-client.ts";
import { isAway } from "../query/replica.ts";
import {
  coloursFor,
  type Listed,
  type Listing,
  listingDocument,
  printListing,
  renderListing,
  tellPartial,
} from "./listing.ts";
import type { ListFlags, MeshFlags } from "./mesh-flags.ts";

const watchEveryMs = 2000;
const clearScreen = "\u001b[H\u001b[2J";

export async function runListing<Row extends object>(
  listing: Listing<Row>,
  flags: ListFlags,
  list: (mesh: MeshClient, signal: AbortSignal) => Promise<Listed<Row>>,
): Promise<number> {
  return withMesh(flags, async (mesh, signal) => {
    if (flags.watch !== true) return printListing(listing, await list(mesh, signal), flags);
    return watch(listing, flags, signal, () => list(mesh, signal));
  });
}

/** A connection to the mesh for the time of `run`; an interrupt ends it and is no failure. */
export async function withMesh(
  flags: MeshFlags,
  run: (mesh: MeshClient, signal: AbortSignal) => Promise<number>,
): Promise<number> {
  const stop = new AbortController();
  const onSignal = () => stop.abort(new Error("interrupted"));
  process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
  // A reader that has seen enough (head, a pager) is no failure either.
  const onPipe = (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") stop.abort(error);
  };
  process.stdout.on("error", onPipe);
  try {
    const mesh = await connectMesh(flags, stop.signal);
    try {
      return await run(mesh, stop.signal);
    } finally {
      await mesh.close();
    }
  } catch (error) {
    if (stop.signal.aborted) return 0;
    throw error;
  } finally {
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
  }
}

async function watch<Row extends object>(
  listing: Listing<Row>,
  flags: ListFlags,
  signal: AbortSignal,
  list: () => Promise<Listed<Row>>,
): Promise<number> {
  const { output } = flags;
  const people = output === "table" || output === "wide";
  const colours = coloursFor(flags);
  let code = 0;
  for (let seen = false; !signal.aborted; ) {
    let listed: Listed<Row>;
    try {
      listed = await list();
      seen = true;
    } catch (error) {
      // Control that restarts does not end a watch, once there was something to see.
      if (!seen || !isAway(error) || signal.aborted) throw error;
      process.stderr.write(`${error.message}\n`);
      code = 3;
      await delay(watchEveryMs, undefined, { signal }).catch(() => {});
      continue;
    }
    // Into a pipe one document a line, so that a reader knows where each look ends.
    const piped = !process.stdout.isTTY || output === "jsonl" || output === "json";
    const text =
      piped && output !== "name"
        ? JSON.stringify(listingDocument(listing, listed))
        : await renderListing(listing, listed, output, colours);
    process.stdout.write(`${people && !piped ? clearScreen : ""}${text}\n`);
    code = tellPartial(listed.outcome) || (listed.code ?? 0);
    await delay(watchEveryMs, undefined, { signal }).catch(() => {});
  }
  return code;
}
