/** How a request is refused, on both versions of HTTP alike. */
import type { AuthorizationVerdict } from "../../model/authorization.ts";
import type { Reason } from "../../model/reason.ts";

export interface Refusal {
  readonly status: number;
  readonly reason: Reason;
  readonly detail: string;
  readonly body: string;
}

/** Istio's and Envoy's words: what people search for. */
const denied = "RBAC: access denied";

/** Undefined for a request that may pass. */
export function refusalOf({ outcome, reason }: AuthorizationVerdict): Refusal | undefined {
  switch (outcome) {
    case "allow":
      return undefined;
    case "deny":
      return forbidden(reason, "");
    case "needs-http":
      // All that a request says has been said, so what is still open can't be decided.
      return forbidden("policy-unevaluable", "");
  }
}

export function forbidden(reason: Reason, detail: string): Refusal {
  return { status: 403, reason, detail, body: denied };
}

export function malformedRequest(status: number, detail: string): Refusal {
  return { status, reason: "malformed-request", detail, body: detail };
}

/** The application could not be asked. */
export function unavailable(reason: Reason, detail: string): Refusal {
  return { status: 503, reason, detail, body: "the application did not answer" };
}

export function badGateway(detail: string): Refusal {
  return { status: 502, reason: "not-http", detail, body: "the application's answer is not HTTP" };
}

export function refusalFields({ reason, body }: Refusal): string[] {
  return ["content-type", "text/plain", "content-length", String(Buffer.byteLength(body)), "x-warren-reason", reason];
}
