/**
 * One SPIFFE id's TLS material as this engine uses it. Replacing it swaps the secure context that new handshakes use; open
 * tunnels keep their keys and are judged again by the new denials and CRL. Handshakes that come before the first certificate
 * wait here, each for a bounded time.
 */
import { constants, createPrivateKey, type X509Certificate } from "node:crypto";
import { createSecureContext, type SecureContext } from "node:tls";
import { readCertificates } from "../../identity/certificate.ts";
import { readRevocationLists } from "../../identity/revocation-list.ts";
import { identityOfNames } from "../../identity/spiffe.ts";
import { MeshError, messageOf } from "../../lib/errors.ts";
import type { Identity } from "../../model/identity.ts";
import type { CredentialHandle, CredentialSpec, TlsSettings } from "../engine.ts";
import type { TrustRules } from "./peer-proof.ts";

/** A credential that holds a certificate. */
export interface UsableCredential {
  readonly context: SecureContext;
  readonly rules: TrustRules;
}

/** Called once: with the material, or with undefined when the wait is over without one. */
type Waiter = (usable: UsableCredential | undefined) => void;

export class Credential {
  readonly handle: CredentialHandle;
  readonly identity: Identity;
  readonly #waiters = new Set<Waiter>();
  #usable: UsableCredential | undefined;

  constructor(handle: CredentialHandle, identity: Identity) {
    this.handle = handle;
    this.identity = identity;
  }

  get usable(): UsableCredential | undefined {
    return this.#usable;
  }

  /** Throws, keeping the old material, if any part of the new one is not usable. */
  replace(spec: CredentialSpec, tls: TlsSettings): UsableCredential {
    const usable = load(this.identity, spec, tls);
    this.#usable = usable;
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const waiter of waiters) waiter(usable);
    return usable;
  }

  /** For a credential without a certificate: calls back when one arrives or after `timeoutMs`. Returns a function that gives up. */
  whenUsable(timeoutMs: number, done: Waiter): () => void {
    const waiter: Waiter = (usable) => {
      clearTimeout(timer);
      done(usable);
    };
    const timer = setTimeout(() => {
      this.#waiters.delete(waiter);
      done(undefined);
    }, timeoutMs);
    this.#waiters.add(waiter);
    return () => {
      clearTimeout(timer);
      this.#waiters.delete(waiter);
    };
  }

  /** Ends every wait without a certificate. */
  remove(): void {
    this.#usable = undefined;
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const waiter of waiters) waiter(undefined);
  }
}

function load(identity: Identity, spec: CredentialSpec, tls: TlsSettings): UsableCredential {
  const what = `the credential of ${identity}`;
  const [leaf] = readCertificates(spec.chain, `the chain of ${identity}`);
  const proves = leaf === undefined ? undefined : identityOfNames(leaf.subjectAltName);
  if (spec.identity !== identity || proves !== identity) {
    throw badCredential(`${what} holds a certificate for ${proves ?? "no SPIFFE id"}; ask the authority for a new one`);
  }
  // Without a `ca` node:tls trusts the public web's authorities.
  if (readCertificates(spec.trustBundle, `the trust bundle of ${identity}`).length === 0) {
    throw badCredential(`${what} comes without a trust bundle; compare with the authority's answer`);
  }
  if (!matches(leaf, spec.privateKey)) throw badCredential(`key and certificate of ${what} do not belong together`);
  return {
    context: secureContext(what, spec, tls),
    rules: {
      trustDomains: new Set(spec.trustDomains),
      denied: new Set(spec.deniedIdentities),
      revocationLists: readRevocationLists(spec.crl),
    },
  };
}

function matches(leaf: X509Certificate | undefined, privateKey: string): boolean {
  try {
    return leaf?.checkPrivateKey(createPrivateKey(privateKey)) ?? false;
  } catch {
    // The key's text must not reach a message.
    return false;
  }
}

function secureContext(what: string, spec: CredentialSpec, tls: TlsSettings): SecureContext {
  try {
    return createSecureContext({
      cert: spec.chain,
      key: spec.privateKey,
      ca: spec.trustBundle,
      minVersion: "TLSv1.3",
      maxVersion: "TLSv1.3",
      ciphers: tls.ciphers,
      ecdhCurve: tls.groups,
      // Stateless tickets would let a peer come back without showing its certificate, past a new CRL or trust bundle.
      secureOptions: constants.SSL_OP_NO_TICKET,
    });
  } catch (error) {
    throw badCredential(`${what} cannot be used: ${messageOf(error)}; check tls.groups and tls.ciphers`, error);
  }
}

function badCredential(message: string, cause?: unknown): MeshError {
  return new MeshError("MESH_CREDENTIAL_UNUSABLE", message, cause === undefined ? {} : { cause });
}
