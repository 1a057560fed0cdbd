/** What the HTTP enforcer needs of others, and what it tells. */
import type { Socket } from "node:net";
import type { AuthorizationVerdict, HttpRequestFacts, ShadowMatch } from "../../model/authorization.ts";
import type { Reason } from "../../model/reason.ts";
import type { HandedFlow } from "../driver.ts";

/** One request, told when it is over. */
export interface HttpRequestRecord {
  readonly flow: HandedFlow;
  readonly protocol: "HTTP/1.0" | "HTTP/1.1" | "HTTP/2";
  readonly method: string;
  readonly host: string;
  /** As matched; empty for CONNECT and for what could not be read. */
  readonly path: string;
  /** What the client was answered, 0 for nothing. */
  readonly status: number;
  /** `ok` when the application answered to the end. */
  readonly reason: Reason;
  readonly detail: string;
  /** `namespace/name` of the policy that decided, empty when none did; and the rule in it, -1 for none. */
  readonly policy: string;
  readonly rule: number;
  readonly shadow: readonly ShadowMatch[];
  /** Body bytes from the client and back; for a WebSocket all bytes after the handshake. */
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly arrivedAt: number;
  readonly durationMs: number;
}

export interface HttpEnforcerDeps {
  /** Whether this request may be, by the policies of now. */
  authorize(flow: HandedFlow, request: HttpRequestFacts): AuthorizationVerdict;
  /** Connects to the application, with the client's source address. Rejects with a `FlowEnd` that tells why. */
  dialUpstream(flow: HandedFlow, signal: AbortSignal): Promise<Socket>;
  requestEnded(record: HttpRequestRecord): void;
  /** Something that must not happen did, and was survived. */
  internalError(error: unknown): void;
}

/** Times in milliseconds. */
export interface HttpEnforcerOptions {
  /** From the first byte of a connection or request to the end of its header section. */
  readonly headerTimeout: number;
  /** Between requests. */
  readonly idleTimeout: number;
  /** How long what a refused client still sends is taken, so that it reads the refusal (RFC 9112 §9.6), and how much of it. */
  readonly lingerTimeout: number;
  readonly lingerBytes: number;
  readonly maxHeaderSize: number;
  /** Requests of one HTTP/1 connection that wait for answers; HTTP/2 streams at once. */
  readonly maxConcurrentRequests: number;
}
