/**
 * Judges a peer's certificates as the engines do, but outside of a handshake: for `warren` tools that are given a chain, and as the
 * plain statement of the rules that tests hold both engines against. Chain, dates, purpose, CRL, SPIFFE id, trust domain, denials.
 * It loads an X.509 library for CRLs, so the agent does not import it.
 */
import "reflect-metadata";
import type { X509Certificate } from "node:crypto";
import { BasicConstraintsExtension, X509Certificate as ParsedCertificate, X509Crl } from "@peculiar/x509";
import { MeshError, messageOf } from "../lib/errors.ts";
import { pemBlocks } from "../lib/pem.ts";
import type { Identity } from "../model/identity.ts";
import { readCertificates } from "./certificate.ts";
import { findChain } from "./certificate-chain.ts";
import { identityOfNames, trustDomainOf } from "./spiffe.ts";

export interface TrustBundleSpec {
  /** PEM of the trusted roots. */
  readonly roots: string;
  /** Own trust domain and its aliases. */
  readonly trustDomains: readonly string[];
  /** Concatenated PEM; empty for none. */
  readonly crl: string;
  readonly deniedIdentities: readonly Identity[];
}

/** What the peer is in the handshake. */
export type PeerRole = "client" | "server";

export type TrustVerdict =
  | { readonly kind: "trusted"; readonly identity: Identity; readonly chain: readonly X509Certificate[] }
  | { readonly kind: "refused"; readonly reason: TrustRefusal; readonly detail: string };

type Refused = Extract<TrustVerdict, { kind: "refused" }>;

export type ChainVerdict = { readonly kind: "leads"; readonly chain: readonly X509Certificate[] } | Refused;

/** Codes of the reason table that a handshake can end with. */
export type TrustRefusal = "tls-failed" | "identity-mismatch" | "certificate-revoked";

const purposes: Readonly<Record<PeerRole, string>> = {
  client: "1.3.6.1.5.5.7.3.2",
  server: "1.3.6.1.5.5.7.3.1",
};

export class TrustBundle {
  readonly #roots: readonly X509Certificate[];
  readonly #crls: readonly X509Crl[];
  readonly #trustDomains: ReadonlySet<string>;
  readonly #denied: ReadonlySet<Identity>;

  /** Throws MESH_TRUST_BUNDLE_INVALID: a bundle that can only refuse everybody is a mistake. */
  constructor(spec: TrustBundleSpec) {
    this.#roots = readCertificates(spec.roots, "the trust bundle");
    if (this.#roots.length === 0) {
      throw new MeshError("MESH_TRUST_BUNDLE_INVALID", "the trust bundle holds no PEM certificate");
    }
    this.#crls = pemBlocks(spec.crl, "X509 CRL").map(readCrl);
    if (this.#crls.length === 0 && spec.crl.trim() !== "") {
      throw new MeshError("MESH_TRUST_BUNDLE_INVALID", "the CRL is not PEM");
    }
    this.#trustDomains = new Set(spec.trustDomains);
    this.#denied = new Set(spec.deniedIdentities);
  }

  /** `presented`: PEM as the peer sent it, leaf first. `at`: Unix time in milliseconds. */
  async judge(presented: string, role: PeerRole, at: number): Promise<TrustVerdict> {
    const led = await this.judgeChain(presented, role, at);
    if (led.kind === "refused") return led;
    const identity = identityOfNames(led.chain[0]?.subjectAltName);
    if (identity === undefined) return refused("identity-mismatch", "the certificate has not exactly one SPIFFE id");
    if (!this.#trustDomains.has(trustDomainOf(identity))) {
      return refused("identity-mismatch", `${identity} is of another trust domain`);
    }
    if (this.#denied.has(identity)) return refused("certificate-revoked", `${identity} is on the denylist`);
    return { kind: "trusted", identity, chain: led.chain };
  }

  /** Chain, dates, purpose and revocation alone: who it proves is left open. */
  async judgeChain(presented: string, role: PeerRole, at: number): Promise<ChainVerdict> {
    const [leaf, ...intermediates] = readCertificates(presented, "the peer's chain");
    if (leaf === undefined) return refused("tls-failed", "no certificate was presented");
    if (leaf.ca) return refused("tls-failed", "the certificate is one of an authority, not of a workload");
    // Absent means any purpose (RFC 5280 §4.2.1.12).
    if (leaf.keyUsage !== undefined && !leaf.keyUsage.includes(purposes[role])) {
      return refused("tls-failed", `the certificate is not for a TLS ${role}`);
    }
    const found = findChain(leaf, intermediates, this.#roots, at);
    if (found.kind === "broken") return refused("tls-failed", found.detail);
    if (!pathLengthsHold(found.chain)) {
      return refused("tls-failed", "an authority on the way may not have authorities below it");
    }
    for (const certificate of found.chain) {
      if (await this.#isRevoked(certificate, found.chain)) {
        return refused("certificate-revoked", `certificate ${certificate.serialNumber} is on its issuer's CRL`);
      }
    }
    return { kind: "leads", chain: found.chain };
  }

  /**
   * A CRL speaks for the authority whose key signed it, and only about what that authority issued. One that has expired still
   * revokes; an authority without one revokes nothing.
   */
  async #isRevoked(certificate: X509Certificate, chain: readonly X509Certificate[]): Promise<boolean> {
    const issuer = chain.find((candidate) => candidate !== certificate && certificate.checkIssued(candidate));
    if (issuer === undefined) return false;
    const { publicKey } = new ParsedCertificate(issuer.raw);
    for (const crl of this.#crls) {
      if (crl.findRevoked(certificate.serialNumber.toLowerCase()) === null) continue;
      if (await crl.verify({ publicKey })) return true;
    }
    return false;
  }
}

/** An authority may say how many others may follow it towards the leaf (RFC 5280 §4.2.1.9). */
function pathLengthsHold(chain: readonly X509Certificate[]): boolean {
  return chain.every((certificate, index) => {
    const constraints = new ParsedCertificate(certificate.raw).getExtension(BasicConstraintsExtension);
    return index === 0 || index - 1 <= (constraints?.pathLength ?? Infinity);
  });
}

function readCrl(pem: string, index: number): X509Crl {
  try {
    return new X509Crl(pem);
  } catch (error) {
    throw new MeshError("MESH_TRUST_BUNDLE_INVALID", `CRL ${index + 1} cannot be read: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function refused(reason: TrustRefusal, detail: string): Refused {
  return { kind: "refused", reason, detail };
}
