import type { AuthorizationPolicy } from "../model/authorization.ts";

/**
 * Default deny of one namespace, written as the policy that means it: an ALLOW that never matches. So everything that reads
 * policies (listings, explanations, discovery) sees it without knowing the label. The name cannot be that of an object.
 */
export function defaultDenyPolicy(namespace: string): AuthorizationPolicy {
  return {
    name: "(default-action)",
    namespace,
    createdAt: 0,
    action: "ALLOW",
    dryRun: false,
    matchLabels: undefined,
    targetServices: [],
    rules: [],
    problems: [],
  };
}
