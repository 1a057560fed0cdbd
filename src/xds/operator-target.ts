/**
 * Where a person's shell reaches control, and what it shows there. Each way of finding a mesh (flags, a lab, a kubeconfig) ends in these;
 * with several replicas of control there are several, and all are asked, because each knows the agents that are connected to it.
 */
export interface OperatorTarget {
  /** `host:port`, or `unix:` and a path. */
  readonly address: string;
  readonly token: string;
  /** PEM of the roots that control's certificate must lead to. */
  readonly root: string;
  /** The name in its certificate, when it is not the host of `address`; empty for that host. */
  readonly serverName: string;
}

/** A way into a cluster that must be closed again, for example a port-forward to each ready pod of control. */
export interface OperatorTunnel {
  readonly targets: readonly OperatorTarget[];
  /** The namespace that the user's context names. */
  readonly namespace: string;
  /** In words, for messages: `context kind-dev`. */
  readonly origin: string;
  close(): Promise<void>;
}

/** Where control runs in a cluster unless its installation said otherwise. */
export const defaultMeshNamespace = "warren-system";

export interface OperatorTunnelOptions {
  /** Absent: the current one. */
  readonly context?: string;
  /** Where control runs. Absent: `defaultMeshNamespace`. */
  readonly controlNamespace?: string;
}
