/**
 * What an authority is made of and where it is kept: issuers, a rotation under way, what was revoked; and the contract of the places
 * that can hold it. The text is one for all places, so that a state can be moved from a folder to a Secret by hand.
 */
import { z } from "zod";
import { MeshError, messageOf } from "../../lib/errors.ts";

export interface KeyedCertificate {
  /** PEM. */
  readonly certificate: string;
  /** PKCS#8 PEM. */
  readonly key: string;
}

/** What can sign for workloads, and how that leads to a root. */
export interface Issuer {
  /** `self-signed`: made by us, with the root's key, renewed by us. `plug-in`: given to us, renewed by whoever gave it. */
  readonly origin: "self-signed" | "plug-in";
  readonly intermediate: KeyedCertificate;
  /** PEM between the intermediate and the root; empty where the root signed it. */
  readonly chain: string;
  /** PEM; the first is the one that the chain leads to. A plug-in may bring others to be trusted beside it. */
  readonly roots: string;
  /** PKCS#8 PEM; empty for a plug-in, whose root is elsewhere. */
  readonly rootKey: string;
  /** Revocation lists that came with a plug-in, PEM; ours stand beside them. */
  readonly crl: string;
}

/** An intermediate that was replaced; it signs revocation lists as long as something that it signed can live. */
export interface FormerIssuer extends KeyedCertificate {
  /** Unix time in milliseconds. */
  readonly until: number;
}

/**
 * `trust`: every agent learns the next root; the old one issues. `issue`: the next one issues; the old root is trusted until no
 * certificate in use comes from it. After that it is retired, and there is no rotation any more.
 */
export type RotationPhase = "trust" | "issue";

export interface RootRotation {
  readonly phase: RotationPhase;
  /** Unix time in milliseconds of the rotation's start and of the phase's. */
  readonly startedAt: number;
  readonly phaseSince: number;
  /** The issuer that does not issue: the next one in `trust`, the old one in `issue`. */
  readonly other: Issuer;
  /** Nodes whose agent was seen to have done what the phase asks. */
  readonly confirmed: readonly string[];
  /** Nodes that somebody decided not to wait for. */
  readonly excused: readonly string[];
  /** Nodes whose agent was asked late in the phase and has not done its part. */
  readonly lagging?: readonly string[] | undefined;
}

export interface RevokedSerial {
  /** Hexadecimal, lower case, as many digits as bytes need. */
  readonly serial: string;
  /** Unix time in milliseconds. */
  readonly at: number;
  /** When no certificate that was issued before `at` can hold any more. */
  readonly until: number;
}

export interface DeniedIdentity {
  readonly identity: string;
  readonly at: number;
}

export interface Revocations {
  /** Of the last revocation list (RFC 5280 §5.2.3); grows with each change. */
  readonly crlNumber: number;
  readonly serials: readonly RevokedSerial[];
  readonly identities: readonly DeniedIdentity[];
  /**
   * PEM: one list for each of our issuers, all of them with all serials, for nobody keeps who issued which. Signed once and kept, so
   * that replicas tell the same; empty as long as nothing is revoked.
   */
  readonly lists: string;
}

export interface AuthorityState {
  /** What signs now. */
  readonly issuer: Issuer;
  readonly former: readonly FormerIssuer[];
  readonly rotation?: RootRotation | undefined;
  readonly revocations: Revocations;
}

/** A state as it was found; `version` is opaque. */
export interface KeptState {
  readonly version: string;
  readonly state: AuthorityState;
}

/** A folder, or a Kubernetes Secret. Keys are readable by the control plane alone. */
export interface AuthorityVault {
  /** Undefined when nothing was ever kept; throws when what is there cannot be used. */
  load(): Promise<KeptState | undefined>;
  /**
   * Keeps a first state, once for all processes that share the vault: whoever comes second gets the state of the first. Atomic: a
   * crash leaves all of it or nothing.
   */
  create(state: AuthorityState): Promise<KeptState>;
  /** Replaces the state if it still has this version. Undefined, with nothing changed, when another was quicker: load and think again. */
  replace(version: string, state: AuthorityState): Promise<KeptState | undefined>;
  /** Calls when the state may have become another, too often rather than too rarely. Returns how to stop. */
  watch(changed: () => void): () => void;
}

export const noRevocations: Revocations = { crlNumber: 0, serials: [], identities: [], lists: "" };

const pem = z.string().min(1);
const time = z.number().int().nonnegative();
const keyed = z.strictObject({ certificate: pem, key: pem });
const issuer = z.strictObject({
  origin: z.enum(["self-signed", "plug-in"]),
  intermediate: keyed,
  chain: z.string(),
  roots: pem,
  rootKey: z.string(),
  crl: z.string(),
});
const names = z.array(z.string().min(1));
const document = z.strictObject({
  version: z.literal(2),
  issuer,
  former: z.array(keyed.extend({ until: time })),
  rotation: z
    .strictObject({
      phase: z.enum(["trust", "issue"]),
      startedAt: time,
      phaseSince: time,
      other: issuer,
      confirmed: names,
      excused: names,
      lagging: names.optional(),
    })
    .optional(),
  revocations: z.strictObject({
    crlNumber: z.number().int().nonnegative(),
    serials: z.array(z.strictObject({ serial: z.string().regex(/^([0-9a-f]{2})+$/), at: time, until: time })),
    identities: z.array(z.strictObject({ identity: z.string().min(1), at: time })),
    lists: z.string(),
  }),
});

/** The state as every vault keeps it. It holds keys. */
export function encodeAuthorityState({ issuer, former, rotation, revocations }: AuthorityState): string {
  return `${JSON.stringify({ version: 2, issuer, former, rotation, revocations }, undefined, 2)}\n`;
}

/** `where` names the vault in the error: MESH_AUTHORITY_UNUSABLE. */
export function decodeAuthorityState(text: string, where: string): AuthorityState {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    // The parser's words quote the text, which holds keys.
    throw unusable(where, "it is not JSON", error instanceof SyntaxError ? undefined : error);
  }
  const parsed = document.safeParse(json);
  if (!parsed.success) throw unusable(where, z.prettifyError(parsed.error));
  const { issuer, former, rotation, revocations } = parsed.data;
  return { issuer, former, rotation, revocations };
}

export function unusableVault(where: string, error: unknown): MeshError {
  return unusable(where, messageOf(error), error);
}

function unusable(where: string, why: string, cause?: unknown): MeshError {
  return new MeshError(
    "MESH_AUTHORITY_UNUSABLE",
    `the authority's state in ${where} cannot be used: ${why}; restore it from a copy`,
    { cause },
  );
}
