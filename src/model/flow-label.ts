import type { ShadowMatch } from "./authorization.ts";
import type { Service } from "./service.ts";
import type { Workload } from "./workload.ts";

/**
 * Who talks to whom, as decided when the flow was judged: interned to the number that decisions and closing records carry. Access
 * log, metrics and tap read it, so that they describe the flow by the state it was judged under, not by today's.
 */
export interface FlowLabel {
  readonly source: Workload | undefined;
  readonly destination: Workload | undefined;
  /** The Service that the client addressed, when it did. */
  readonly service: Service | undefined;
  /** `namespace/name` of the policy that decided, empty when none did. */
  readonly policy: string;
  /** AUDIT and dry-run policies that matched. */
  readonly shadow: readonly ShadowMatch[];
  /** Both ends are pods of this node, and the agent joins them without a tunnel: each end's identity is known from its netns. */
  readonly local?: true;
}
