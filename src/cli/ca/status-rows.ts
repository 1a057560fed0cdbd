/** The authority's status as `warren ca status` prints it: plain JSON for programs, lines for people. Pure. */
import { columns } from "../../lib/columns.ts";
import { Origin, type Rotation, Rotation_Phase, type Status } from "../../xds/gen/warren/authority/v1/authority_pb.ts";
import { isoTime, spanText } from "../output/words.ts";
import type { Colours } from "../query/output.ts";

export const statusSchema = "warren.ca-status/v1";

export interface CertificateLine {
  readonly kind: "root" | "intermediate" | "serving";
  readonly subject: string;
  readonly issuer: string;
  readonly serial: string;
  readonly fingerprint: string;
  readonly keyType: string;
  readonly notBefore: string;
  readonly notAfter: string;
  /** Its time has come; false also for what is renewed by itself. */
  readonly expired: boolean;
}

export interface RotationLine {
  readonly phase: "trust" | "issue";
  readonly since: string;
  readonly oldRoot: string;
  readonly newRoot: string;
  readonly confirmed: readonly string[];
  readonly excused: readonly string[];
  readonly waiting: readonly { readonly node: string; readonly reason: string }[];
  readonly notBefore: string;
  /** After this only agents are waited for that were seen to lie behind. */
  readonly opensAt: string;
}

export interface AuthorityDocument {
  readonly trustDomain: string;
  readonly origin: "self-signed" | "plug-in";
  readonly certificates: readonly CertificateLine[];
  readonly intermediateRenewsAt: string;
  /** When a rotation of the root begins by itself; empty for never, and while one is under way. */
  readonly rootRotatesAt: string;
  readonly rotation: RotationLine | undefined;
  readonly revokedSerials: readonly { readonly serial: string; readonly revokedAt: string }[];
  readonly deniedIdentities: readonly { readonly identity: string; readonly deniedAt: string }[];
  readonly crlNumber: number;
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

export function authorityDocument(status: Status, now: number): AuthorityDocument {
  const { intermediate, roots, serving, rotation } = status;
  const certificates = [
    ...roots.map((root) => ["root", root] as const),
    ...(intermediate === undefined ? [] : [["intermediate", intermediate] as const]),
    ...(serving === undefined ? [] : [["serving", serving] as const]),
  ];
  return {
    trustDomain: status.trustDomain,
    origin: status.origin === Origin.PLUG_IN ? "plug-in" : "self-signed",
    certificates: certificates.map(([kind, certificate]) => {
      const { subject, issuer, serial, fingerprint, keyType } = certificate;
      const notAfter = isoTime(certificate.notAfter);
      return {
        kind,
        subject,
        issuer,
        serial,
        fingerprint,
        keyType,
        notBefore: isoTime(certificate.notBefore),
        notAfter,
        expired: Date.parse(notAfter) <= now,
      };
    }),
    intermediateRenewsAt: isoTime(status.intermediateRenewsAt),
    rootRotatesAt: isoTime(status.rootRotatesAt),
    rotation: rotation && rotationLine(rotation),
    revokedSerials: status.revokedSerials.map(({ serial, revokedAt }) => ({ serial, revokedAt: isoTime(revokedAt) })),
    deniedIdentities: status.deniedIdentities.map(({ identity, deniedAt }) => ({
      identity,
      deniedAt: isoTime(deniedAt),
    })),
    crlNumber: Number(status.crlNumber),
    problems: status.problems,
    warnings: status.warnings,
  };
}

export function rotationLine(rotation: Rotation): RotationLine {
  const { phase, phaseSince, oldRoot, newRoot, confirmedNodes, excusedNodes, waiting, notBefore, opensAt } = rotation;
  return {
    phase: phase === Rotation_Phase.ISSUE ? "issue" : "trust",
    since: isoTime(phaseSince),
    oldRoot,
    newRoot,
    confirmed: confirmedNodes,
    excused: excusedNodes,
    waiting: waiting.map(({ node, reason }) => ({ node, reason })),
    notBefore: isoTime(notBefore),
    opensAt: isoTime(opensAt),
  };
}

/** 1 when somebody has to do something. */
export function statusCode({ certificates, problems }: AuthorityDocument): 0 | 1 {
  return problems.length > 0 || certificates.some(({ expired }) => expired) ? 1 : 0;
}

export function statusLines(document: AuthorityDocument, now: number, colours: Colours, wide = false): string[] {
  const { trustDomain, origin, certificates, rotation, revokedSerials, deniedIdentities, crlNumber } = document;
  const left = (notAfter: string) => spanText(Date.parse(notAfter) - now);
  const [head = "", ...rows] = columns([
    [
      "CERTIFICATE",
      "SUBJECT",
      "KEY",
      "NOT AFTER",
      "LEFT",
      "SERIAL",
      ...(wide ? ["NOT BEFORE", "ISSUER", "SHA-256"] : []),
    ],
    ...certificates.map(({ kind, subject, keyType, notAfter, serial, notBefore, issuer, fingerprint }) => [
      kind,
      subject || "-",
      keyType,
      notAfter,
      left(notAfter),
      serial,
      ...(wide ? [notBefore, issuer || "-", fingerprint] : []),
    ]),
  ]);
  const { intermediateRenewsAt: renews, rootRotatesAt: rotates } = document;
  return [
    `The authority of ${trustDomain}, ${origin === "plug-in" ? "issuing from plug-in certificates" : "with a root of its own"}`,
    "",
    colours.bold(head),
    ...rows.map((row, index) => (certificates[index]?.expired === true ? colours.red(row) : row)),
    "",
    ...(renews === "" ? [] : [`The intermediate is renewed at ${renews}.`]),
    ...(rotates === "" ? [] : [`The root is rotated by itself at ${rotates}.`]),
    ...(rotation === undefined ? ["No rotation of the root is under way."] : rotationLines(rotation)),
    revokedSerials.length + deniedIdentities.length === 0
      ? "Nothing is revoked."
      : `Revoked: ${revokedSerials.length} serial numbers (list ${crlNumber}), ${deniedIdentities.length} identities.`,
    ...revokedSerials.map(({ serial, revokedAt }) => `  serial ${serial} since ${revokedAt}`),
    ...deniedIdentities.map(({ identity, deniedAt }) => `  ${identity} since ${deniedAt}`),
    ...document.warnings.map((warning) => colours.yellow(`‼ ${warning}`)),
    ...document.problems.map((problem) => colours.red(`× ${problem}`)),
  ];
}

function rotationLines({ phase, since, newRoot, confirmed, excused, waiting, opensAt }: RotationLine): string[] {
  const what = phase === "trust" ? "agents learn the new root" : "the new root issues";
  return [
    `The root is being rotated to ${short(newRoot)}: ${what}, since ${since}.`,
    `  confirmed by ${confirmed.length} nodes${excused.length === 0 ? "" : `, not waiting for ${excused.join(", ")}`}`,
    ...waiting.map(({ node, reason }) => `  waiting for ${node}: ${reason}`),
    ...(waiting.length === 0 || opensAt === "" ? [] : [`  for those who cannot be asked until ${opensAt}`]),
  ];
}

export function short(fingerprint: string): string {
  return fingerprint.slice(0, 16);
}
