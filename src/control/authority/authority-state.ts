/** What an authority is made of and where it is kept: the state as text, and the contract of the places that can hold it. */

export interface KeyedCertificate {
  /** PEM. */
  readonly certificate: string;
  /** PKCS#8 PEM. */
  readonly key: string;
}

export interface AuthorityState {
  readonly root: KeyedCertificate;
  readonly intermediate: KeyedCertificate;
}

/** A folder now; a Kubernetes Secret is another. Keys are readable by the control plane alone. */
export interface AuthorityVault {
  /** Undefined when nothing was ever kept; throws when what is there cannot be used. */
  load(): Promise<AuthorityState | undefined>;
  /**
   * Keeps a first state, once for all processes that share the vault: whoever comes second gets the state of the first. Atomic: a
   * crash leaves all of it or nothing.
   */
  create(state: AuthorityState): Promise<AuthorityState>;
  /** Replaces the state. Two that renew the intermediate at once do no harm: the same root signed both. */
  replace(state: AuthorityState): Promise<void>;
}
