/** `warren ca revoke` and `warren ca restore`. */
import { MeshError } from "../../lib/errors.ts";
import { withMesh } from "../output/run-listing.ts";
import { printAnswer } from "../query/output.ts";
import { AuthorityClient } from "./authority-client.ts";
import type { CaFlags } from "./flags.ts";

export const revocationSchema = "warren.ca-revocation/v1";

export interface RevokeFlags extends CaFlags {
  readonly serial?: readonly string[];
  readonly identity?: readonly string[];
}

/** A row for programs that read line by line. */
type Revoked = { readonly identity: string } | { readonly serial: string };

function nameOf(one: Revoked): string {
  return "identity" in one ? one.identity : `serial/${one.serial}`;
}

/** 3 when some agent could not be asked which certificates it has of an identity. */
export async function revoke(flags: RevokeFlags): Promise<number> {
  const { serial: serials = [], identity: identities = [] } = flags;
  if (serials.length + identities.length === 0)
    throw new MeshError("MESH_CONFIG_REVOKE", "name what to revoke: --serial or --identity");
  return withMesh(flags, async (mesh, signal) => {
    const { serials: listed, unaskedNodes } = await new AuthorityClient(mesh).revoke(serials, identities, signal);
    await printAnswer(
      {
        schema: revocationSchema,
        document: { identities, serials: listed, unaskedNodes },
        rows: [
          ...identities.map((identity): Revoked => ({ identity })),
          ...listed.map((serial): Revoked => ({ serial })),
        ],
        name: nameOf,
        lines: () => [
          ...identities.map((identity) => `refused everywhere from now on: ${identity}`),
          ...listed.map((serial) => `on the revocation list: serial ${serial}`),
        ],
      },
      flags,
    );
    if (unaskedNodes.length === 0) return 0;
    const nodes = unaskedNodes.join(", ");
    process.stderr.write(
      `warren: ${nodes} could not be asked for serial numbers; the identities are refused all the same\n`,
    );
    return 3;
  });
}

export async function restore(identities: readonly string[], flags: CaFlags): Promise<number> {
  return withMesh(flags, async (mesh, signal) => {
    const { deniedIdentities } = await new AuthorityClient(mesh).restore(identities, signal);
    const left = deniedIdentities.map(({ identity }) => identity);
    await printAnswer(
      {
        schema: revocationSchema,
        document: { restored: identities, deniedIdentities: left },
        rows: identities.map((identity): Revoked => ({ identity })),
        name: nameOf,
        lines: () => identities.map((identity) => `let in again, with new certificates: ${identity}`),
      },
      flags,
    );
    return 0;
  });
}
