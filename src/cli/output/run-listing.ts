/** Runs a verb that asks the mesh: connects, asks, prints, and with `--watch` goes on until it is interrupted. */
import { setTimeout as delay } from "node:timers/promises";
import { connectMesh, type MeshClient } from "../query/mesh-client.ts";
import { type Answer, type Colours, printAnswer, renderAnswer } from "../query/output.ts";
import { isAway } from "../query/replica.ts";
import { checkNamespace } from "../query/workload-reference.ts";
import {
  coloursFor,
  type Listed,
  type Listing,
  listingDocument,
  printListing,
  renderListing,
  tellAdvice,
  tellPartial,
} from "./listing.ts";
import type { ListFlags, ListFormat, MeshFlags } from "./mesh-flags.ts";

const watchEveryMs = 2000;
const clearScreen = "\u001b[H\u001b[2J";

export async function runListing<Row extends object>(
  listing: Listing<Row>,
  flags: ListFlags,
  list: (mesh: MeshClient, signal: AbortSignal) => Promise<Listed<Row>>,
): Promise<number> {
  return withMesh(flags, async (mesh, signal) => {
    if (flags.watch !== true) {
      const listed = await list(mesh, signal);
      if (listed.rows.length === 0 && flags.namespace !== undefined)
        checkNamespace(await mesh.mesh(signal), flags.namespace);
      return printListing(listing, listed, flags);
    }
    return watch(flags, signal, async () => {
      const listed = await list(mesh, signal);
      return {
        ...listed,
        document: listing.json?.(listed.rows) ?? listingDocument(listing, listed),
        render: (format, colours) => renderListing(listing, listed, format, colours),
      };
    });
  });
}

export interface AnswerFlags extends MeshFlags {
  readonly output: ListFormat;
  readonly watch?: true;
}

/** An answer that is no listing, with how it ends. */
export interface Answered<Row extends object> extends Pick<Listed<Row>, "outcome" | "advice" | "code"> {
  readonly answer: Answer<Row>;
}

/** As `runListing`, for verbs whose answer is no listing. */
export async function runAnswer<Row extends object>(
  flags: AnswerFlags,
  ask: (mesh: MeshClient, signal: AbortSignal) => Promise<Answered<Row>>,
): Promise<number> {
  return withMesh(flags, async (mesh, signal) => {
    if (flags.watch === true) {
      return watch(flags, signal, async () => {
        const { answer, ...ending } = await ask(mesh, signal);
        return {
          ...ending,
          document: { schema: answer.schema, ...answer.document },
          render: (format, colours) => renderAnswer(answer, format, colours),
        };
      });
    }
    const { answer, outcome, advice, code } = await ask(mesh, signal);
    await printAnswer(answer, flags);
    tellAdvice(advice, flags.output);
    return tellPartial(outcome) || (code ?? 0);
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

/** What is seen at one moment. */
interface Look extends Pick<Listed<object>, "outcome" | "advice" | "code"> {
  readonly document: object;
  readonly render: (format: ListFormat, colours: Colours) => Promise<string>;
}

async function watch(flags: AnswerFlags, signal: AbortSignal, look: () => Promise<Look>): Promise<number> {
  const { output } = flags;
  const people = output === "table" || output === "wide";
  // Into a pipe one document a line, so that a reader knows where each look ends.
  const piped = !process.stdout.isTTY || output === "jsonl" || output === "json";
  const colours = coloursFor(flags);
  let code = 0;
  for (let seen = false; !signal.aborted; ) {
    let found: Look;
    try {
      found = await look();
      seen = true;
    } catch (error) {
      // Control that restarts does not end a watch, once there was something to see.
      if (!seen || !isAway(error) || signal.aborted) throw error;
      process.stderr.write(`${error.message}\n`);
      code = 3;
      await delay(watchEveryMs, undefined, { signal }).catch(() => {});
      continue;
    }
    const asDocument = piped && output !== "name";
    const text = asDocument ? JSON.stringify(found.document) : await found.render(output, colours);
    process.stdout.write(`${people && !piped ? clearScreen : ""}${text}\n`);
    tellAdvice(found.advice, asDocument ? "json" : output);
    code = tellPartial(found.outcome) || (found.code ?? 0);
    await delay(watchEveryMs, undefined, { signal }).catch(() => {});
  }
  return code;
}
