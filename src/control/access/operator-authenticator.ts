/** Which person or program asks, and what it may: the contract between what control tells operators and the ways to prove who one is. */
import type { Refusal } from "./node-authenticator.ts";

/**
 * `inspect` reads what agents and control know. `manage-agents` changes a log level or closes connections. `manage-authority` rotates
 * and revokes.
 */
export const operatorActions = ["inspect", "manage-agents", "manage-authority"] as const;
export type OperatorAction = (typeof operatorActions)[number];

export interface OperatorCaller {
  /** For our log: a user name, a service account. */
  readonly name: string;
}

export interface OperatorAuthenticator {
  /** `token` as it came after `Bearer `; empty when there was none. */
  authorize(token: string, action: OperatorAction): Promise<OperatorCaller | Refusal>;
}
