/** `warren ca status`: what the mesh's certificates hang on. */
import { type AnswerFlags, runAnswer } from "../output/run-listing.ts";
import type { Colours } from "../query/output.ts";
import { AuthorityClient } from "./authority-client.ts";
import { authorityDocument, type CertificateLine, statusCode, statusLines, statusSchema } from "./status-rows.ts";

export async function caStatus(flags: AnswerFlags): Promise<number> {
  return runAnswer(flags, async (mesh, signal) => {
    const now = Date.now();
    const document = authorityDocument(await new AuthorityClient(mesh).status(signal), now);
    const answer = {
      schema: statusSchema,
      document,
      rows: document.certificates,
      name: ({ kind, serial }: CertificateLine) => `${kind}/${serial}`,
      lines: (colours: Colours, wide: boolean) => statusLines(document, now, colours, wide),
    };
    return { answer, code: statusCode(document) };
  });
}
