/**
 * Carries certificates from the store to the engine's credentials: each new one replaces the one before in place, and a change of
 * trust (aliases, denied identities) replaces them all without a new certificate. An identity is given up with its last pod.
 */
import type { CertificateStore } from "../identity/certificate-store.ts";
import type { CertificateMaterial } from "../identity/issued-certificate.ts";
import type { Identity } from "../model/identity.ts";
import type { MeshSettings } from "../model/mesh.ts";
import type { Driver } from "../tunnel/driver.ts";

export interface CredentialsDeps {
  readonly store: Pick<CertificateStore, "hold" | "get" | "onChange">;
  readonly driver: Pick<Driver, "setCredential" | "forgetCredential">;
  readonly settings: () => MeshSettings;
  readonly renewed: () => void;
}

export class Credentials {
  readonly #deps: CredentialsDeps;
  readonly #holders = new Map<Identity, number>();
  #stopListening: (() => void) | undefined;

  constructor(deps: CredentialsDeps) {
    this.#deps = deps;
  }

  start(): void {
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
    this.#holders.set(identity, (this.#holders.get(identity) ?? 0) + 1);
    // Held already by another pod: the engine may have forgotten nothing, but this is cheap and always right.
    const ready = this.#deps.store.get(identity);
    if (ready !== undefined) this.#apply(ready);
    let released = false;
    return () => {
      if (released) return;
      released = true;
      release();
      const left = (this.#holders.get(identity) ?? 1) - 1;
      if (left > 0) {
        this.#holders.set(identity, left);
      } else {
        this.#holders.delete(identity);
        this.#deps.driver.forgetCredential(identity);
      }
    };
  }

  /** Call when aliases or denied identities changed. */
  settingsChanged(): void {
    for (const identity of this.#holders.keys()) {
      const material = this.#deps.store.get(identity);
      if (material !== undefined) this.#apply(material);
    }
  }

  #apply(material: CertificateMaterial): void {
    const { trustDomain, trustDomainAliases, deniedIdentities } = this.#deps.settings();
    const { identity, chain, privateKey, trustBundle } = material;
    this.#deps.driver.setCredential(identity, {
      identity,
      chain,
      privateKey,
      trustBundle,
      trustDomains: [trustDomain, ...trustDomainAliases],
      crl: "",
      deniedIdentities,
    });
  }
}
