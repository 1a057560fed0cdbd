/** The authority as operators see it: `warren.authority.v1.Status`, made of the state without its keys. */
import { X509Certificate } from "node:crypto";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { certificateFacts, readCertificates, serialText } from "../../identity/certificate.ts";
import {
  type CertificateSchema,
  Origin,
  Rotation_Phase,
  type RotationSchema,
  type Status,
  StatusSchema,
} from "../../xds/gen/warren/authority/v1/authority_pb.ts";
import { wireTime } from "../../xds/wire-time.ts";
import type { Authority } from "./authority.ts";
import type { Issuer } from "./authority-state.ts";
import { fingerprintOf } from "./issuer.ts";
import type { RotationDriver } from "./rotation-driver.ts";
import type { RotationStart } from "./rotation-start.ts";

export interface StatusSources {
  readonly authority: Pick<Authority, "state" | "settings" | "roots" | "renewalDue">;
  readonly rotation: Pick<RotationDriver, "waiting">;
  readonly begins: Pick<RotationStart, "due">;
  /** PEM of control's own certificate; empty before the first. */
  readonly serving: () => string;
  readonly trustDomain: string;
  /** Accepted as our own beside it. */
  readonly trustDomainAliases: () => readonly string[];
  /** Undefined where certificates are not given to us. */
  readonly plugIn: () => { readonly problems: readonly string[]; readonly warnings: readonly string[] } | undefined;
}

export function authorityStatus(sources: StatusSources): Status {
  const { authority, trustDomain, trustDomainAliases } = sources;
  const { issuer, revocations } = authority.state;
  const { crl, trustBundle } = authority.settings;
  const { problems, warnings } = sources.plugIn() ?? { problems: [], warnings: [] };
  const [serving] = readCertificates(sources.serving(), "the serving certificate");
  const rotation = rotationStatus(sources);
  const { renewalDue } = authority;
  const { due } = sources.begins;
  return create(StatusSchema, {
    trustDomain,
    origin: issuer.origin === "plug-in" ? Origin.PLUG_IN : Origin.SELF_SIGNED,
    intermediate: facts(new X509Certificate(issuer.intermediate.certificate)),
    roots: readCertificates(authority.roots, "the roots").map(facts),
    ...(serving === undefined ? {} : { serving: facts(serving) }),
    ...(rotation === undefined ? {} : { rotation }),
    revokedSerials: revocations.serials.map(({ serial, at }) => ({
      serial: serialText(serial),
      revokedAt: wireTime(at),
    })),
    deniedIdentities: revocations.identities.map(({ identity, at }) => ({ identity, deniedAt: wireTime(at) })),
    crlNumber: BigInt(revocations.crlNumber),
    trustBundle,
    crl,
    trustDomains: [trustDomain, ...trustDomainAliases()],
    problems: [...problems],
    warnings: [...warnings],
    ...(renewalDue === Infinity ? {} : { intermediateRenewsAt: wireTime(renewalDue) }),
    ...(due === Infinity ? {} : { rootRotatesAt: wireTime(due) }),
  });
}

function rotationStatus({ authority, rotation }: StatusSources): MessageInitShape<typeof RotationSchema> | undefined {
  const { issuer, rotation: state } = authority.state;
  const { waiting } = rotation;
  if (state === undefined || waiting === undefined) return undefined;
  const trusting = state.phase === "trust";
  const [old, next] = trusting ? [issuer, state.other] : [state.other, issuer];
  return {
    phase: trusting ? Rotation_Phase.TRUST : Rotation_Phase.ISSUE,
    startedAt: wireTime(state.startedAt),
    phaseSince: wireTime(state.phaseSince),
    oldRoot: issuingRootOf(old),
    newRoot: issuingRootOf(next),
    confirmedNodes: [...state.confirmed],
    excusedNodes: [...state.excused],
    waiting: waiting.waitingFor.map((node) => ({
      node,
      reason: waiting.reasons.get(node) ?? "its agent was not asked yet",
    })),
    notBefore: wireTime(waiting.notBefore),
    opensAt: wireTime(waiting.opensAt),
  };
}

function issuingRootOf({ roots }: Issuer): string {
  const [root] = readCertificates(roots, "the roots");
  return root === undefined ? "" : fingerprintOf(root);
}

function facts(certificate: X509Certificate): MessageInitShape<typeof CertificateSchema> {
  const { subject, issuer, serial, keyType, notBefore, notAfter } = certificateFacts(certificate);
  return {
    subject,
    issuer,
    serial,
    keyType,
    fingerprint: fingerprintOf(certificate),
    notBefore: wireTime(notBefore),
    notAfter: wireTime(notAfter),
  };
}
