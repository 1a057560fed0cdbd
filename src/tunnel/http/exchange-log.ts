/** The record of one request, from its arrival to its end. */
import type { AuthorizationVerdict, HttpRequestFacts } from "../../model/authorization.ts";
import type { Reason } from "../../model/reason.ts";
import type { HandedFlow } from "../driver.ts";
import type { HttpRequestRecord } from "./enforcement.ts";

export class ExchangeLog {
  readonly #flow: HandedFlow;
  readonly #protocol: HttpRequestRecord["protocol"];
  readonly #tell: (record: HttpRequestRecord) => void;
  readonly #arrivedAt = Date.now();
  readonly #started = performance.now();
  #told = false;
  facts: Pick<HttpRequestFacts, "method" | "host" | "path">;
  verdict: AuthorizationVerdict | undefined;
  status = 0;
  bytesSent = 0;
  bytesReceived = 0;

  constructor(
    deps: { readonly flow: HandedFlow; readonly tell: (record: HttpRequestRecord) => void },
    request: { readonly protocol: HttpRequestRecord["protocol"]; readonly method: string },
  ) {
    this.#flow = deps.flow;
    this.#tell = deps.tell;
    this.#protocol = request.protocol;
    this.facts = { method: request.method, host: "", path: "" };
  }

  /** The first end counts: what follows from it is no news. */
  end(reason: Reason, detail: string): void {
    if (this.#told) return;
    this.#told = true;
    const { method, host, path } = this.facts;
    const { policy = "", rule = -1, shadow = [] } = this.verdict ?? {};
    this.#tell({
      flow: this.#flow,
      protocol: this.#protocol,
      method,
      host,
      path,
      status: this.status,
      reason,
      detail,
      policy,
      rule,
      shadow,
      bytesSent: this.bytesSent,
      bytesReceived: this.bytesReceived,
      arrivedAt: this.#arrivedAt,
      durationMs: performance.now() - this.#started,
    });
  }
}
