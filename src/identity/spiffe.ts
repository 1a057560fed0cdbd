/**
 * SPIFFE ids of workloads: `spiffe://<trust domain>/ns/<namespace>/sa/<service account>` and nothing else. Every identity that
 * enters Warren, from a certificate, from discovery or from a policy, becomes an `Identity` here or is refused here; from then on
 * identities are compared as text. Rules: SPIFFE-ID standard §2 (character sets, lengths), and Istio's form of the path.
 */
import { MeshError } from "../lib/errors.ts";
import type { Identity, IdentityParts } from "../model/identity.ts";

const scheme = "spiffe://";

/** SPIFFE-ID §2.3: implementations must support ids of up to 2048 bytes and must not make longer ones. */
const longestId = 2048;
/** SPIFFE-ID §2.1: the trust domain's share of it. */
const longestTrustDomain = 255;

// SPIFFE-ID §2.1 and §2.2. No percent-encoding, no dot segments, no empty segments; lower case only in the trust domain.
const trustDomainPattern = /^[a-z0-9._-]+$/;
const segmentPattern = /^[A-Za-z0-9._-]+$/;

export class IdentityError extends MeshError {
  constructor(message: string) {
    super("MESH_IDENTITY_INVALID", message);
  }
}

export function isTrustDomain(text: string): boolean {
  return text.length <= longestTrustDomain && trustDomainPattern.test(text);
}

function isSegment(text: string): boolean {
  return segmentPattern.test(text) && text !== "." && text !== "..";
}

/** The parts of a workload's SPIFFE id; undefined for anything else, other SPIFFE ids included. */
export function parseIdentity(text: string): IdentityParts | undefined {
  if (!text.startsWith(scheme) || text.length > longestId) return undefined;
  const pieces = text.slice(scheme.length).split("/");
  if (pieces.length !== 5) return undefined;
  const [trustDomain = "", ns, namespace = "", sa, serviceAccount = ""] = pieces;
  if (ns !== "ns" || sa !== "sa") return undefined;
  if (!isTrustDomain(trustDomain) || !isSegment(namespace) || !isSegment(serviceAccount)) return undefined;
  return { trustDomain, namespace, serviceAccount };
}

/** The text as an identity; undefined unless it is exactly a workload's SPIFFE id. */
export function asIdentity(text: string): Identity | undefined {
  return parseIdentity(text) === undefined ? undefined : (text as Identity);
}

/** Prints parts; throws IdentityError naming the part that cannot stand in a SPIFFE id. */
export function formatIdentity({ trustDomain, namespace, serviceAccount }: IdentityParts): Identity {
  if (!isTrustDomain(trustDomain)) {
    throw new IdentityError(
      `${JSON.stringify(trustDomain)} is not a SPIFFE trust domain; use a-z, 0-9, ".", "-" and "_", at most ${longestTrustDomain}`,
    );
  }
  for (const [what, text] of [
    ["namespace", namespace],
    ["service account", serviceAccount],
  ] as const) {
    if (!isSegment(text)) {
      throw new IdentityError(
        `${JSON.stringify(text)} cannot be the ${what} of a SPIFFE id; it must be a Kubernetes name`,
      );
    }
  }
  const text = `${scheme}${trustDomain}/ns/${namespace}/sa/${serviceAccount}`;
  if (text.length > longestId)
    throw new IdentityError(`a SPIFFE id may have ${longestId} bytes, this one has ${text.length}`);
  return text as Identity;
}

/** `td/ns/x/sa/y`: how policies, metrics and logs of this field write a principal. */
export function principalOf(identity: Identity): string {
  return identity.slice(scheme.length);
}

export function trustDomainOf(identity: Identity): string {
  return identity.slice(scheme.length, identity.indexOf("/", scheme.length));
}

const generalName = /(?:^|, )([^:,"]+):((?:"(?:[^"\\]|\\.)*"|[^,"])*)/gy;

/**
 * The URI names in Node's text of a subjectAltName (`DNS:a, URI:spiffe://…`). Node prints a value with unusual characters as a
 * JSON string, so commas and prefixes inside quotes are part of a value and never a name of their own. A text that is not
 * understood to its end has no names at all: what follows might be a second URI.
 */
export function uriNames(subjectAltName: string | undefined): string[] {
  const text = subjectAltName ?? "";
  const names: string[] = [];
  let end = 0;
  for (const match of text.matchAll(generalName)) {
    const [whole, kind, value = ""] = match;
    end = match.index + whole.length;
    if (kind === "URI") names.push(value.startsWith('"') ? (JSON.parse(value) as string) : value);
  }
  return end === text.length ? names : [];
}

/**
 * The identity that a certificate proves. X509-SVID §2 allows exactly one URI name: with two, which one a peer means would be
 * its choice, so such a certificate proves nothing.
 */
export function identityOfNames(subjectAltName: string | undefined): Identity | undefined {
  const [first, ...others] = uriNames(subjectAltName);
  return first === undefined || others.length > 0 ? undefined : asIdentity(first);
}
