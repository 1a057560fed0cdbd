/** Certificates as `warren certs` lists them. Pure. */
import { parseIdentity } from "../../identity/spiffe.ts";
import { type Certificate, Certificate_State } from "../../xds/gen/warren/inspect/v1/inspect_pb.ts";
import type { Listing } from "../output/listing.ts";
import { isoTime, spanText, unixMs } from "../output/words.ts";
import type { IsRevoked } from "./revoked.ts";

export interface CertificateLine {
  readonly identity: string;
  readonly namespace: string;
  readonly node: string;
  readonly state: "pending" | "ready" | "unavailable";
  /** Between its dates, and not revoked. */
  readonly valid: boolean;
  readonly revoked: boolean;
  readonly notBefore: string;
  readonly notAfter: string;
  readonly renewsAt: string;
  readonly serial: string;
  readonly issuer: string;
  readonly keyType: string;
  readonly lastError: string;
}

export function certificateLine(
  node: string,
  certificate: Certificate,
  { now, isRevoked }: { readonly now: number; readonly isRevoked: IsRevoked },
): CertificateLine {
  const { identity, state, notBefore, notAfter, renewsAt, serial, issuer, keyType, lastError } = certificate;
  const dated = notBefore !== undefined && notAfter !== undefined;
  const revoked = isRevoked(certificate);
  return {
    identity,
    namespace: parseIdentity(identity)?.namespace ?? "",
    node,
    state: stateWord(state),
    revoked,
    valid: !revoked && dated && unixMs(notBefore) <= now && now < unixMs(notAfter),
    notBefore: isoTime(notBefore),
    notAfter: isoTime(notAfter),
    renewsAt: isoTime(renewsAt),
    serial,
    issuer,
    keyType,
    lastError,
  };
}

/** One that is being fetched for the first time is no trouble yet. */
export function isBad({ state, valid, revoked }: CertificateLine): boolean {
  return revoked || state === "unavailable" || (state === "ready" && !valid);
}

function stateWord(state: Certificate_State): CertificateLine["state"] {
  if (state === Certificate_State.READY) return "ready";
  return state === Certificate_State.UNAVAILABLE ? "unavailable" : "pending";
}

const left = (time: string) => (time === "" ? "" : spanText(Date.parse(time) - Date.now()));

/** Enough to tell two apart; `wide` has all of it. */
function shortSerial(serial: string): string {
  const bytes = serial.split(":");
  return bytes.length <= 4 ? serial : `${bytes.slice(0, 4).join(":")}…`;
}

function commonName(issuer: string): string {
  return /(?:^|, )CN=([^,]+)/.exec(issuer)?.[1] ?? issuer;
}

export const certificatesListing: Listing<CertificateLine> = {
  schema: "warren.certs/v1",
  items: "certificates",
  columns: [
    { title: "IDENTITY", cell: ({ identity }) => identity },
    { title: "NODE", cell: ({ node }) => node },
    {
      title: "STATE",
      cell: ({ state, revoked }) => (revoked ? "revoked" : state),
      style: (row, colours) => (isBad(row) ? colours.red : undefined),
    },
    { title: "VALID CERT", cell: ({ valid }) => String(valid) },
    { title: "EXPIRES IN", cell: ({ notAfter }) => left(notAfter) },
    { title: "RENEWS IN", cell: ({ renewsAt }) => left(renewsAt) },
    { title: "NOT BEFORE", cell: ({ notBefore }) => notBefore, wide: true },
    { title: "NOT AFTER", cell: ({ notAfter }) => notAfter, wide: true },
    { title: "SERIAL", cell: ({ serial }) => shortSerial(serial), wide: "never" },
    { title: "ISSUER", cell: ({ issuer }) => commonName(issuer), wide: "never" },
    { title: "SERIAL", cell: ({ serial }) => serial, wide: true },
    { title: "ISSUER", cell: ({ issuer }) => issuer, wide: true },
    { title: "KEY", cell: ({ keyType }) => keyType },
    { title: "LAST ERROR", cell: ({ lastError }) => lastError, wide: true },
  ],
  name: ({ identity, node }) => `certificate/${node}/${identity}`,
  none: "no certificates: nothing is enrolled here",
};
