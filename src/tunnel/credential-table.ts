/** Credentials by identity: made when the first pod or the first certificate of an identity comes, kept while either stays. */
import type { Identity } from "../model/identity.ts";
import type { CredentialHandle, CredentialSpec, Engine } from "./engine.ts";

interface Credential {
  readonly handle: CredentialHandle;
  pods: number;
  /** The agent keeps this identity's certificate fresh. */
  kept: boolean;
  /** Certificates are checked against a CRL, which only handshakes do. */
  crl: boolean;
}

export class CredentialTable {
  readonly #engine: Engine;
  readonly #credentials = new Map<Identity, Credential>();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  get size(): number {
    return this.#credentials.size;
  }

  /** There is a certificate, and nothing but a handshake's own checks could tell that it is revoked: there is no CRL. */
  isProven(identity: Identity): boolean {
    const credential = this.#credentials.get(identity);
    return credential?.kept === true && !credential.crl;
  }

  set(identity: Identity, spec: CredentialSpec): void {
    const credential = this.#of(identity);
    credential.kept = true;
    credential.crl = spec.crl.trim() !== "";
    this.#engine.setCredential(credential.handle, spec);
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
      credential = { handle: this.#engine.addCredential(identity), pods: 0, kept: false, crl: false };
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
