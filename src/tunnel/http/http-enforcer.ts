/**
 * HTTP rules on the node. A flow to a port that a policy with HTTP attributes selects is handed over by the engine as its plaintext;
 * here every request on it is read by Node's own parsers, judged by itself (`request-head` → `authorize`), and sent on by Node's own
 * clients over one connection to the application. Requests that a policy refuses are answered 403; bytes that are no HTTP end the
 * flow. When policies change, requests in progress are judged again.
 */
import type { Duplex } from "node:stream";
import type { Reason } from "../../model/reason.ts";
import type { HandedFlow, RequestEnforcer } from "../driver.ts";
import { FlowEnd, type FlowId } from "../engine.ts";
import type { HttpEnforcerDeps, HttpEnforcerOptions } from "./enforcement.ts";
import { Http1Server } from "./http1-server.ts";
import { Http2Connection } from "./http2-connection.ts";
import { type Protocol, recognise } from "./protocol.ts";

/** What is kept of a connection once its protocol is known. */
interface Connection {
  rejudge(): void;
  drain(): void;
}

export class HttpEnforcer implements RequestEnforcer {
  readonly #deps: HttpEnforcerDeps;
  readonly #options: HttpEnforcerOptions;
  readonly #http1: Http1Server;
  /** Undefined while the protocol is being recognised. */
  readonly #open = new Map<FlowId, { readonly flow: HandedFlow; readonly duplex: Duplex; connection?: Connection }>();

  #draining = false;

  constructor(deps: HttpEnforcerDeps, options: HttpEnforcerOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#http1 = new Http1Server(deps, options);
  }

  /** Flows that are read here. */
  get size(): number {
    return this.#open.size;
  }

  has(flow: FlowId): boolean {
    return this.#open.has(flow);
  }

  /** Takes the flow's plaintext over, until its end. */
  enforce(flow: HandedFlow, duplex: Duplex): void {
    // Whatever breaks the flow is in its closing record.
    duplex.on("error", () => {});
    duplex.once("close", () => this.#open.delete(flow.flow));
    this.#open.set(flow.flow, { flow, duplex });
    recognise(duplex, this.#options.headerTimeout, (protocol) => this.#recognised(flow, duplex, protocol));
  }

  /** Judges the requests in progress by the policies of now; all, or those of some flows. */
  rejudge(concerns: (flow: HandedFlow) => boolean = () => true): void {
    for (const { flow, connection } of this.#open.values()) {
      if (connection !== undefined && concerns(flow)) connection.rejudge();
    }
  }

  /** Lets requests in progress end, and their connections with them. */
  drain(): void {
    this.#draining = true;
    for (const { connection } of this.#open.values()) connection?.drain();
  }

  /** Breaks all flows. May be called twice. */
  stop(reason: Reason = "agent-stopped"): void {
    for (const { duplex } of this.#open.values()) duplex.destroy(new FlowEnd(reason));
  }

  #recognised(flow: HandedFlow, duplex: Duplex, protocol: Protocol | "closed" | "silent"): void {
    const open = this.#open.get(flow.flow);
    if (open === undefined) return;
    switch (protocol) {
      case "http1":
        open.connection = this.#http1.accept(flow, duplex);
        break;
      case "http2":
        open.connection = new Http2Connection(this.#deps, this.#options, { flow, duplex });
        break;
      case "closed":
        // A health check that only connects, say. Nothing was asked, so nothing is answered.
        duplex.end(() => duplex.destroy(new FlowEnd("ok")));
        break;
      case "not-http":
      case "silent":
        duplex.destroy(new FlowEnd("not-http"));
        break;
    }
    if (this.#draining) open.connection?.drain();
  }
}
