/**
 * Carries certificates from the store to the engine's credentials: each new one replaces the one before in place, and a change of
 * trust (roots, aliases, revocation lists, denied identities) replaces them all without a new certificate. An identity is given up with
 * its last pod; while such a pod still proves it, on its way to another identity, it hears of revocations as all others do. A revocation list that an engine cannot use never takes a pod's certificate away: the last good one stays in force.
 */
import type { CertificateStore } from "../identity/certificate-store.ts";
import type { CertificateMaterial } from "../identity/issued-certificate.ts";
import { RevocationJudge } from "../identity/revocation-list.ts";
import { messageOf } from "../lib/errors.ts";
import type { Identity } from "../model/identity.ts";
import type { MeshSettings } from "../model/mesh.ts";
import type { Driver } from "../tunnel/driver.ts";
import type { CredentialSpec } from "../tunnel/engine.ts";

export interface CredentialsDeps {
  readonly store: Pick<CertificateStore, "hold" | "get" | "onChange" | "follow">;
  readonly driver: Pick<Driver, "setCredential" | "forgetCredential" | "reviseCredential">;
  readonly settings: () => MeshSettings;
  readonly renewed: () => void;
  readonly log: { error(fields: object, message: string): void };
}

export class Credentials {
  readonly #deps: CredentialsDeps;
  readonly #holders = new Map<Identity, number>();
  /** Given up, and perhaps proven still by a pod whose identity changes: its last certificate. */
  readonly #parting = new Map<Identity, CertificateMaterial>();
  readonly #revocations = new RevocationJudge();
  /** The last revocation lists that the engine took; undefined until it took some, empty ones too. */
  #goodCrl: string | undefined;
  #refusedCrl: string | undefined;
  #stopListening: (() => void) | undefined;

  constructor(deps: CredentialsDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#guide();
    this.#stopListening ??= this.#deps.store.onChange((material) => {
      this.#deps.renewed();
      this.#apply(material);
    });
  }

  stop(): void {
    this.#stopListening?.();
    this.#stopListening = undefined;
  }

  /** Keeps a certificate for the identity, and the engine's credential in step with it, until the returned function is called. */
  hold(identity: Identity): () => void {
    const release = this.#deps.store.hold(identity);
    this.#parting.delete(identity);
    this.#holders.set(identity, (this.#holders.get(identity) ?? 0) + 1);
    // Held already by another pod: the engine may have forgotten nothing, but this is cheap and always right.
    const ready = this.#deps.store.get(identity);
    if (ready !== undefined) this.#apply(ready);
    let released = false;
    return () => {
      if (released) return;
      released = true;
      const last = this.#deps.store.get(identity);
      release();
      const left = (this.#holders.get(identity) ?? 1) - 1;
      if (left > 0) {
        this.#holders.set(identity, left);
      } else {
        this.#holders.delete(identity);
        this.#deps.driver.forgetCredential(identity);
        if (last !== undefined) this.#parting.set(identity, last);
      }
    };
  }

  /** Call when the mesh's settings changed: roots, aliases, what is revoked or denied. */
  settingsChanged(): void {
    this.#guide();
    for (const identity of this.#holders.keys()) {
      const material = this.#deps.store.get(identity);
      if (material !== undefined) this.#apply(material);
    }
    for (const [identity, material] of this.#parting) {
      let proven = true;
      this.#apply(material, (spec) => {
        proven = this.#deps.driver.reviseCredential(identity, spec);
      });
      if (!proven) this.#parting.delete(identity);
    }
  }

  #guide(): void {
    const { trustBundle, issuingRoot, crl } = this.#deps.settings();
    const isRevoked = ({ chain, root }: CertificateMaterial) => {
      try {
        return this.#revocations.isRevoked({ chain, roots: root, crl });
      } catch (error) {
        this.#tellUnusable(crl, error);
        return false;
      }
    };
    this.#deps.store.follow({ trustBundle, issuingRoot, isRevoked });
  }

  #apply(
    material: CertificateMaterial,
    set = (spec: CredentialSpec): unknown => this.#deps.driver.setCredential(material.identity, spec),
  ): void {
    const { crl } = this.#deps.settings();
    try {
      set(this.#spec(material, crl));
      this.#goodCrl = crl;
    } catch (error) {
      // With other lists than before, they may be what is wrong. Without lists that were good once, nothing is put in force at all.
      if (this.#goodCrl === undefined || this.#goodCrl === crl) {
        this.#deps.log.error(
          { identity: material.identity, error },
          `a credential is not in force: ${messageOf(error)}`,
        );
        return;
      }
      set(this.#spec(material, this.#goodCrl));
      this.#tellUnusable(crl, error);
    }
  }

  #spec({ identity, chain, privateKey, trustBundle }: CertificateMaterial, crl: string): CredentialSpec {
    const { trustDomain, trustDomainAliases, deniedIdentities } = this.#deps.settings();
    return {
      identity,
      chain,
      privateKey,
      trustBundle,
      trustDomains: [trustDomain, ...trustDomainAliases],
      crl,
      deniedIdentities,
    };
  }

  /** Once for each text. */
  #tellUnusable(crl: string, error: unknown): void {
    if (this.#refusedCrl === crl) return;
    this.#refusedCrl = crl;
    const message = `the mesh's revocation lists cannot be used, the last good ones stay in force: ${messageOf(error)}`;
    this.#deps.log.error({ error }, message);
  }
}
