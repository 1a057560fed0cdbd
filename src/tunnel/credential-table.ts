/** Credentials by identity: made when the first pod or the first certificate of an identity comes, kept while either stays. */
import { RevocationJudge } from "../identity/revocation-list.ts";
import type { Identity } from "../model/identity.ts";
import type { CredentialHandle, CredentialSpec, Engine } from "./engine.ts";

interface Credential {
  readonly handle: CredentialHandle;
  pods: number;
  /** The agent keeps this identity's certificate fresh. */
  kept: boolean;
  /** The engine has a certificate for it, perhaps one that nobody keeps fresh any more. */
  certified: boolean;
  /** Its own certificate is on a revocation list: a handshake would fail. */
  revoked: boolean;
}

export class CredentialTable {
  readonly #engine: Engine;
  readonly #revocations = new RevocationJudge();
  readonly #credentials = new Map<Identity, Credential>();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  get size(): number {
    return this.#credentials.size;
  }

  /** There is a certificate that peers would take. */
  isProven(identity: Identity): boolean {
    const credential = this.#credentials.get(identity);
    return credential?.kept === true && !credential.revoked;
  }

  /** A handshake need not wait for one. */
  hasCertificate(identity: Identity): boolean {
    return this.#credentials.get(identity)?.certified === true;
  }

  set(identity: Identity, spec: CredentialSpec): void {
    const credential = this.#of(identity);
    const revoked = this.#revocations.isRevoked({ chain: spec.chain, roots: spec.trustBundle, crl: spec.crl });
    this.#engine.setCredential(credential.handle, spec);
    credential.kept = true;
    credential.certified = true;
    credential.revoked = revoked;
  }

  /** For an identity that is not kept, and of which a pod has the certificate still; false when there is none such. */
  revise(identity: Identity, spec: CredentialSpec): boolean {
    const credential = this.#credentials.get(identity);
    if (credential === undefined || credential.kept || !credential.certified) return false;
    this.#engine.setCredential(credential.handle, spec);
    return true;
  }

  forget(identity: Identity): void {
    const credential = this.#credentials.get(identity);
    if (credential === undefined) return;
    credential.kept = false;
    this.#dropIfUnused(identity, credential);
  }

  acquire(identity: Identity): CredentialHandle {
    const credential = this.#of(identity);
    credential.pods += 1;
    return credential.handle;
  }

  release(identity: Identity): void {
    const credential = this.#credentials.get(identity);
    if (credential === undefined) return;
    credential.pods -= 1;
    this.#dropIfUnused(identity, credential);
  }

  #of(identity: Identity): Credential {
    let credential = this.#credentials.get(identity);
    if (credential === undefined) {
      const handle = this.#engine.addCredential(identity);
      credential = { handle, pods: 0, kept: false, certified: false, revoked: false };
      this.#credentials.set(identity, credential);
    }
    return credential;
  }

  #dropIfUnused(identity: Identity, credential: Credential): void {
    if (credential.pods > 0 || credential.kept) return;
    this.#credentials.delete(identity);
    this.#engine.removeCredential(credential.handle);
  }
}
