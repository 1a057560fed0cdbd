/** Codes of lints: stable, and numbers of retired ones are not used again. */
export const lintCodes = {
  WP100: "the policy cannot be evaluated and denies what it selects",
  WP101: "the selector matches no workload",
  WP102: "another PeerAuthentication of the same level is older and wins",
  WP103: "a principal is written with spiffe://",
  WP104: "a principal names a foreign trust domain",
  WP105: "an ALLOW source has only negative identity fields",
  WP106: "an ALLOW asks for an identity while plaintext clients are let in",
  WP107: "HTTP fields on a port that does not speak HTTP",
  WP108: "the port is a Service's, not the workload's",
  WP109: "a DENY has only HTTP fields",
  WP110: "portLevelMtls without a selector",
  WP111: "no enrolled workload is selected",
  WP112: "a PeerAuthentication with a selector in the root namespace selects nothing",
  WP113: "remote addresses are the connection's own",
  WP114: "the target Service does not exist",
  WP115: "a DENY asks for an identity while plaintext clients are let in",
  WP116: "a recorded policy with HTTP fields is seen only where requests are read anyway",
  WP117: "the object, or a part of it, cannot be read",
} as const;

export type LintCode = keyof typeof lintCodes;
