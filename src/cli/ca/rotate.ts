/** `warren ca rotate`: begins a rotation and says each step until it is over. The control plane carries it on by itself, also without us. */
import { setTimeout as delay } from "node:timers/promises";
import { MeshError } from "../../lib/errors.ts";
import type { Status } from "../../xds/gen/warren/authority/v1/authority_pb.ts";
import type { ListFormat } from "../output/mesh-flags.ts";
import { withMesh } from "../output/run-listing.ts";
import { connectMesh } from "../query/mesh-client.ts";
import { printAnswer } from "../query/output.ts";
import { AuthorityClient } from "./authority-client.ts";
import type { CaFlags } from "./flags.ts";
import { type RotationStep, rotationSchema, rotationSteps } from "./rotation-log.ts";

export interface RotateFlags extends CaFlags {
  readonly intermediate?: true;
  /** Nodes, or true for all. */
  readonly force?: readonly string[] | true;
  readonly wait: boolean;
  readonly waitTimeout: number;
}

/** Control may restart, or another replica take over, in the middle of it. */
const reconnectEveryMs = 1000;
const reconnectForMs = 60_000;

export async function rotate(flags: RotateFlags): Promise<number> {
  return withMesh(flags, async (mesh, signal) => {
    const client = new AuthorityClient(mesh);
    if (flags.intermediate === true) return rotateIntermediate(client, flags, signal);
    const { force } = flags;
    const begun = await client.rotateRoot(force === true ? "all" : force, signal);
    const tell = (step: RotationStep) => print(flags, step);
    for (const step of rotationSteps(undefined, begun)) await tell(step);
    if (!flags.wait || begun.rotation === undefined) return 0;
    return follow(flags, begun, tell, AbortSignal.any([signal, AbortSignal.timeout(flags.waitTimeout)]));
  });
}

async function rotateIntermediate(client: AuthorityClient, flags: RotateFlags, signal: AbortSignal): Promise<number> {
  const { intermediate } = await client.rotateIntermediate(signal);
  const serial = intermediate?.serial ?? "";
  await printAnswer(
    {
      schema: rotationSchema,
      document: { intermediate: serial },
      rows: [{ intermediate: serial }],
      name: () => `intermediate/${serial}`,
      lines: () => [`the intermediate is now ${serial}; certificates of the one before hold to their end`],
    },
    flags,
  );
  return 0;
}

/** 0 when it is over, 4 when the time is; 3, thrown, when control stays away. */
async function follow(
  flags: RotateFlags,
  begun: Status,
  tell: (step: RotationStep) => Promise<void>,
  signal: AbortSignal,
): Promise<number> {
  let seen = begun;
  let awaySince: number | undefined;
  while (!signal.aborted) {
    try {
      // Connected anew each time: the root that control itself is known by is exchanged too.
      const mesh = await connectMesh(flags, signal);
      try {
        for await (const status of new AuthorityClient(mesh).watch(signal)) {
          awaySince = undefined;
          for (const step of rotationSteps(seen, status)) await tell(step);
          seen = status;
          if (status.rotation === undefined) return 0;
        }
      } finally {
        await mesh.close();
      }
    } catch (error) {
      if (signal.aborted) break;
      const away = error instanceof MeshError && error.code === "MESH_UNREACHABLE_CONTROL";
      awaySince ??= performance.now();
      if (!away || performance.now() - awaySince > reconnectForMs) throw error;
    }
    await delay(reconnectEveryMs, undefined, { signal }).catch(() => {});
  }
  const why =
    "it goes on without you; warren ca status shows it, warren ca rotate --force goes on without the nodes that are missing";
  process.stderr.write(`warren: the rotation is not over yet: ${why}\n`);
  return 4;
}

/** A step is a document, and a line where documents are read line by line. */
async function print({ output }: RotateFlags, { step, message, rotation }: RotationStep): Promise<void> {
  process.stdout.write(`${await stepText(output, { schema: rotationSchema, step, message, rotation })}\n`);
}

async function stepText(output: ListFormat, told: RotationStep & { readonly schema: string }): Promise<string> {
  switch (output) {
    case "json":
    case "jsonl":
      return JSON.stringify(told);
    case "yaml": {
      const { stringify } = await import("yaml");
      return `---\n${stringify(told, { aliasDuplicateObjects: false }).trimEnd()}`;
    }
    case "name":
      return told.step;
    case "table":
    case "wide":
      return `${told.step.padEnd(8)} ${told.message}`;
  }
}
