/**
 * What a decider says about a flow, before handles: the driver turns it into an engine's `Decision`. `dependsOn` names exactly the
 * fields of the event that the verdict (its label included) depended on; undefined means that another flow with the same fields may
 * get another verdict, so it must not be remembered.
 */
import type { SocketAddress } from "../model/address.ts";
import type { ShadowMatch } from "../model/authorization.ts";
import type { Identity } from "../model/identity.ts";
import type { Reason } from "../model/reason.ts";
import type { Service } from "../model/service.ts";
import type { Workload } from "../model/workload.ts";
import type { RememberField } from "./engine.ts";

export interface VerdictBase {
  readonly source: Workload | undefined;
  /** Every workload that the flow may reach, by address; one entry where there is no choice. */
  readonly destinations: ReadonlyMap<string, Workload>;
  readonly service: Service | undefined;
  /** `namespace/name` of the deciding policy, empty when none did. */
  readonly policy: string;
  readonly shadow: readonly ShadowMatch[];
  readonly dependsOn: readonly RememberField[] | undefined;
  /** Both ends are captured here and are joined without a tunnel. */
  readonly local?: true;
}

export interface CarryVerdict extends VerdictBase {
  readonly kind: "carry";
  readonly targets: readonly {
    readonly peer: SocketAddress;
    readonly expected: Identity;
    readonly authority: string;
    readonly weight: number;
  }[];
}

export interface DialVerdict extends VerdictBase {
  readonly kind: "dial";
  readonly targets: readonly { readonly destination: SocketAddress; readonly weight: number }[];
  readonly purpose: "leave" | "deliver";
  readonly sourceAddress: string | undefined;
  /** UID of the captured pod to dial from, when that is not the one that the flow was accepted for. */
  readonly from?: string;
}

/** The connection may be, or not; each request on it is asked about. */
export interface HandOverVerdict extends VerdictBase {
  readonly kind: "hand-over";
  /** Why the connection alone is not let in. */
  readonly reason: Reason;
}

export interface RefuseVerdict extends VerdictBase {
  readonly kind: "refuse";
  readonly reason: Reason;
}

/** The mesh does not know the captured pod yet: ask again when it changes. */
export interface HoldVerdict {
  readonly kind: "hold";
}

export type Verdict = CarryVerdict | DialVerdict | HandOverVerdict | RefuseVerdict | HoldVerdict;

/** What becomes of connections whose requests policy wants to see: someone here reads them, or nobody does and they are refused. */
export type HttpStance = "enforced" | "refused";

export const hold: HoldVerdict = { kind: "hold" };

export const nobody: ReadonlyMap<string, Workload> = new Map();
