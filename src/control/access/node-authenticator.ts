/** Who is calling: the contract between the services and the ways in which an agent can prove which node it is. */

export interface NodeCaller {
  readonly node: string;
}

/** `reason` is for our log; the caller learns only that it was refused. */
export interface Refusal {
  readonly refused: string;
}

export interface NodeAuthenticator {
  /** `token` as it came after `Bearer `; empty when there was none. */
  authenticate(token: string): Promise<NodeCaller | Refusal>;
}
