/** `warren ca status`: what the mesh's certificates hang on. */
import { coloursFor } from "../output/listing.ts";
import { withMesh } from "../output/run-listing.ts";
import { AuthorityClient } from "./authority-client.ts";
import type { CaFlags } from "./flags.ts";
import { authorityDocument, statusCode, statusLines, statusSchema } from "./status-rows.ts";

export async function caStatus(flags: CaFlags): Promise<number> {
  return withMesh(flags, async (mesh, signal) => {
    const now = Date.now();
    const document = authorityDocument(await new AuthorityClient(mesh).status(signal), now);
    const text =
      flags.output === "json"
        ? JSON.stringify({ schema: statusSchema, ...document }, undefined, 2)
        : statusLines(document, now, coloursFor(flags)).join("\n");
    process.stdout.write(`${text}\n`);
    return statusCode(document);
  });
}
