/**
 * Why a flow, a tunnel or a request ended or was refused. One table: the codes are stable and shared by access log, metrics, tap,
 * `warren why` and the `x-warren-reason` header. `status` is what an HBONE client is answered, `flags` the
 * `response_flags` label of Istio's TCP metrics, `hint` what an operator should check next.
 * Numbers of retired codes are never reused: engines pass reasons as their index in this table.
 */
export interface ReasonInfo {
  readonly index: number;
  readonly status: 200 | 400 | 401 | 403 | 503;
  readonly flags:
    | "-"
    | "DENY"
    | "CONNECT"
    | "TLS_FAILURE"
    | "H2_HANDSHAKE_FAILURE"
    | "NETWORK_POLICY"
    | "IDENTITY_ERROR"
    | "CERT_REVOKED";
  readonly text: string;
  readonly hint: string;
}

const table = {
  ok: [0, 200, "-", "both sides ended the stream", ""],
  "reset-by-source": [1, 200, "-", "the client reset the connection", ""],
  "reset-by-destination": [2, 200, "-", "the server reset the connection", ""],
  "idle-timeout": [
    3,
    200,
    "-",
    "no bytes moved for the configured idle time",
    "raise timeouts.idle or use TCP keepalive",
  ],
  "half-closed-timeout": [4, 200, "-", "one side ended and the other stayed silent", "raise timeouts.halfClosed"],
  "strict-plaintext": [
    5,
    401,
    "DENY",
    "plaintext refused: PeerAuthentication is STRICT here",
    "enrol the client's namespace, or add a portLevelMtls exception",
  ],
  "policy-denied": [6, 401, "DENY", "an AuthorizationPolicy refused this connection", "see the named policy"],
  "policy-unevaluable": [
    7,
    401,
    "DENY",
    "a policy could not be evaluated, so it denies",
    "run warren lint on the named policy",
  ],
  "policy-changed": [8, 401, "DENY", "a policy change now forbids this open connection", "see the named policy"],
  "illegal-port": [
    9,
    503,
    "CONNECT",
    "the destination is one of the mesh's own ports",
    "address the application's port",
  ],
  "bad-authority": [
    10,
    400,
    "CONNECT",
    "the CONNECT authority is not host:port",
    "check the peer's HBONE implementation",
  ],
  "not-connect": [11, 400, "CONNECT", "the request method is not CONNECT", "port 15008 speaks HBONE only"],
  "not-this-pod": [
    12,
    400,
    "CONNECT",
    "the CONNECT authority is not an address of this pod",
    "the peer's view of the mesh is stale",
  ],
  "unknown-source": [
    13,
    503,
    "CONNECT",
    "the mesh does not know the source pod yet",
    "wait for discovery to deliver the workload",
  ],
  "unknown-service-port": [14, 503, "CONNECT", "the service has no such port", "compare with the Service's ports"],
  "no-endpoint": [
    15,
    503,
    "CONNECT",
    "no ready endpoint behind the service",
    "check the pods' readiness and the selector",
  ],
  "connect-failed": [
    16,
    503,
    "CONNECT",
    "the destination refused the TCP connection",
    "is the application listening on that port?",
  ],
  "connect-timeout": [
    17,
    503,
    "CONNECT",
    "the TCP connection was not answered in time",
    "for peers, maybe a NetworkPolicy blocks HBONE port 15008",
  ],
  "tls-failed": [18, 503, "TLS_FAILURE", "the TLS handshake failed", "compare both ends' trust bundles and clocks"],
  "tls-timeout": [
    19,
    503,
    "TLS_FAILURE",
    "the peer did not finish the TLS handshake in time",
    "is something other than a mesh agent on 15008?",
  ],
  "h2-failed": [
    20,
    503,
    "H2_HANDSHAKE_FAILURE",
    "HTTP/2 set-up failed or the peer broke the protocol",
    "check the peer's HBONE implementation",
  ],
  "identity-mismatch": [
    21,
    503,
    "IDENTITY_ERROR",
    "the peer's certificate is not for the expected identity",
    "a stale endpoint, or an impostor",
  ],
  "no-certificate": [
    22,
    503,
    "IDENTITY_ERROR",
    "no certificate yet for this workload",
    "check the agent's connection to control",
  ],
  "certificate-revoked": [23, 401, "CERT_REVOKED", "the identity or certificate is revoked", "see warren ca status"],
  "peer-refused": [
    24,
    503,
    "CONNECT",
    "the peer agent answered CONNECT with an error",
    "see x-warren-reason and the peer's access log",
  ],
  "tunnel-lost": [25, 503, "CONNECT", "the tunnel to the peer broke", "is the peer's node or agent alive?"],
  "connect-unanswered": [
    26,
    503,
    "CONNECT",
    "the peer did not answer CONNECT in time",
    "is the peer agent overloaded?",
  ],
  "original-destination-lost": [
    27,
    503,
    "CONNECT",
    "the captured connection's destination is not known any more",
    "the capture map is too small for the SYN backlog",
  ],
  "limit-flows": [
    28,
    503,
    "CONNECT",
    "the limit of open flows, or of tunnels for them, is reached",
    "see the detail; raise limits.flowsPerPod, limits.flows, limits.tunnelsPerGroup or limits.outboundTunnelsPerPod",
  ],
  "limit-memory": [
    29,
    503,
    "CONNECT",
    "slow readers left too many bytes waiting: a tunnel's, a pod's or the node's limit",
    "find who does not read; raise limits.memoryPerPod or limits.memory",
  ],
  draining: [30, 503, "CONNECT", "the agent is draining", "retry: another agent takes over"],
  "pod-removed": [31, 503, "CONNECT", "the pod left the mesh", ""],
  "closed-by-operator": [32, 503, "CONNECT", "closed on request", ""],
  "agent-stopped": [33, 503, "CONNECT", "the agent stopped and the drain deadline passed", "raise drain.deadline"],
  "out-of-descriptors": [
    34,
    503,
    "CONNECT",
    "the agent is out of file descriptors",
    "raise the process's RLIMIT_NOFILE",
  ],
  "not-http": [
    35,
    403,
    "DENY",
    "the port has HTTP rules and the bytes are not HTTP",
    "remove HTTP attributes from the policy, or speak HTTP",
  ],
  "tunnel-disabled": [
    37,
    401,
    "DENY",
    "tunnels refused: PeerAuthentication is DISABLE here",
    "the peer's view of the mesh is stale; it should send plaintext",
  ],
  "malformed-request": [
    38,
    400,
    "DENY",
    "the HTTP request is malformed, or could be read in more than one way",
    "see the detail; the client or a proxy before it breaks RFC 9110 or RFC 9112",
  ],
  internal: [36, 503, "CONNECT", "an internal error", "please report with the agent's log"],
} as const satisfies Record<string, readonly [number, ReasonInfo["status"], ReasonInfo["flags"], string, string]>;

export type Reason = keyof typeof table;

const byIndex: Reason[] = [];
const infos = {} as Record<Reason, ReasonInfo>;
for (const [code, [index, status, flags, text, hint]] of Object.entries(table) as [Reason, (typeof table)[Reason]][]) {
  byIndex[index] = code;
  infos[code] = { index, status, flags, text, hint };
}

/** Everything known about a reason code. */
export function reasonInfo(reason: Reason): ReasonInfo {
  return infos[reason];
}

/** The code at an index that an engine reported; unknown indexes are `internal`. */
export function reasonAt(index: number): Reason {
  return byIndex[index] ?? "internal";
}

/** All codes, in index order. */
export const reasons: readonly Reason[] = byIndex;

/** True for a header value that is one of our codes (a peer's `x-warren-reason` is peer data). */
export function isReason(value: string): value is Reason {
  return Object.hasOwn(table, value);
}
