/** `warren ca revoke` and `warren ca restore`. */
import { MeshError } from "../../lib/errors.ts";
import { withMesh } from "../output/run-listing.ts";
import { AuthorityClient } from "./authority-client.ts";
import type { CaFlags } from "./flags.ts";

export const revocationSchema = "warren.ca-revocation/v1";

export interface RevokeFlags extends CaFlags {
  readonly serial?: readonly string[];
  readonly identity?: readonly string[];
}

/** 3 when some agent could not be asked which certificates it has of an identity. */
export async function revoke(flags: RevokeFlags): Promise<number> {
  const { serial: serials = [], identity: identities = [] } = flags;
  if (serials.length + identities.length === 0)
    throw new MeshError("MESH_CONFIG_REVOKE", "name what to revoke: --serial or --identity");
  return withMesh(flags, async (mesh, signal) => {
    const { serials: listed, unaskedNodes } = await new AuthorityClient(mesh).revoke(serials, identities, signal);
    if (flags.output === "json") {
      process.stdout.write(
        `${JSON.stringify({ schema: revocationSchema, identities, serials: listed, unaskedNodes }, undefined, 2)}\n`,
      );
    } else {
      for (const identity of identities) process.stdout.write(`refused everywhere from now on: ${identity}\n`);
      for (const serial of listed) process.stdout.write(`on the revocation list: serial ${serial}\n`);
    }
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
    if (flags.output === "json")
      process.stdout.write(
        `${JSON.stringify({ schema: revocationSchema, restored: identities, deniedIdentities: left }, undefined, 2)}\n`,
      );
    else for (const identity of identities) process.stdout.write(`let in again, with new certificates: ${identity}\n`);
    return 0;
  });
}
