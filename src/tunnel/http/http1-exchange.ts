/**
 * One HTTP/1 request: read, judged, sent on, answered. Bodies go both ways by pipes, so that the slower side sets the pace and nothing
 * is gathered. What breaks on one side breaks on the other: an answer cut short must not look like a whole one.
 */
import type { ClientRequest, IncomingMessage, InformationEvent, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { messageOf } from "../../lib/errors.ts";
import type { HttpRequestFacts } from "../../model/authorization.ts";
import type { Reason } from "../../model/reason.ts";
import type { HandedFlow } from "../driver.ts";
import { FlowEnd } from "../engine.ts";
import type { HttpEnforcerDeps, HttpEnforcerOptions } from "./enforcement.ts";
import { ExchangeLog } from "./exchange-log.ts";
import { endToEnd, forwardableTrailers, membersOf, pairs, valuesOf, without } from "./fields.ts";
import { type Http1Upstream, UpstreamGone } from "./http1-upstream.ts";
import {
  badGateway,
  forbidden,
  malformedRequest,
  type Refusal,
  refusalFields,
  refusalOf,
  unavailable,
} from "./refusal.ts";
import { type RequestHead, readHttp1Head } from "./request-head.ts";

export interface Http1ExchangeDeps {
  readonly flow: HandedFlow;
  readonly enforcer: HttpEnforcerDeps;
  readonly upstream: Http1Upstream;
  /** Nothing more comes of this exchange. */
  over(exchange: Http1Exchange): void;
  /** The application ended the connection before this request's turn. */
  unserved(exchange: Http1Exchange): void;
  /** Breaks the client's connection. */
  cut(reason: Reason): void;
  /** The application agreed to change protocols; the rest of both connections is its own. */
  switched(exchange: Http1Exchange, answer: IncomingMessage, upstream: Duplex, head: Buffer): void;
}

/** What the client wants beside an answer. */
export type Wish = "nothing" | "continue" | "websocket";

/** Without a body these need no `Content-Length` (RFC 9110 §8.6). */
const bodiless: ReadonlySet<string> = new Set(["GET", "HEAD", "DELETE", "OPTIONS", "TRACE"]);

export class Http1Exchange {
  readonly incoming: IncomingMessage;
  readonly response: ServerResponse;
  readonly log: ExchangeLog;
  readonly #deps: Http1ExchangeDeps;
  readonly #options: HttpEnforcerOptions;
  readonly #wish: Wish;
  readonly #chunked: boolean;
  #facts: HttpRequestFacts | undefined;
  #outgoing: ClientRequest | undefined;
  #over = false;
  /** Allowed, and nothing has gone wrong with it since. */
  #passed = false;
  #switched = false;
  #last = false;

  constructor(
    deps: Http1ExchangeDeps,
    options: HttpEnforcerOptions,
    message: { readonly incoming: IncomingMessage; readonly response: ServerResponse; readonly wish: Wish },
  ) {
    const { incoming, response, wish } = message;
    this.#deps = deps;
    this.#options = options;
    this.incoming = incoming;
    this.response = response;
    this.#wish = wish;
    this.#chunked = valuesOf(incoming.rawHeaders, "transfer-encoding").length > 0;
    const { flow, enforcer } = deps;
    this.log = new ExchangeLog(
      { flow, tell: (record) => enforcer.requestEnded(record) },
      { protocol: incoming.httpVersion === "1.0" ? "HTTP/1.0" : "HTTP/1.1", method: incoming.method ?? "" },
    );
    incoming.on("error", () => {});
    response.on("error", () => {});
    response.once("close", () => this.#closed());
  }

  start(): void {
    const { method = "", url = "", httpVersion, rawHeaders } = this.incoming;
    const reading = readHttp1Head({ method, url, httpVersion, rawHeaders });
    if (reading.kind === "malformed") {
      this.#refuse(malformedRequest(reading.status, reading.detail), "close");
      return;
    }
    if (reading.kind === "connect") {
      this.log.facts = reading.facts;
      this.#refuse(forbidden("policy-unevaluable", "what a CONNECT tunnel carries can't be judged"), "close");
      return;
    }
    this.#facts = reading.head.facts;
    this.log.facts = reading.head.facts;
    const refusal = this.#judge(reading.head.facts);
    // A client that waits for "100 Continue" may send the body or leave it (RFC 9110 §10.1.1): who can tell what comes next?
    if (refusal === undefined) void this.#pass(reading.head);
    else this.#refuse(refusal, this.#wish !== "continue" && this.#bodyIsSmall() ? "keep" : "close");
  }

  /** After a change of policy. */
  rejudge(): void {
    if (this.#facts === undefined || this.#over || !this.#passed) return;
    const refusal = this.#judge(this.#facts);
    if (refusal === undefined) return;
    if (this.response.headersSent || this.#switched) {
      this.log.end("policy-changed", refusal.reason);
      this.#deps.cut("policy-changed");
      return;
    }
    // Its turn at the application may not have come: then the connection is still good.
    const close = (this.#outgoing?.socket ?? null) === null ? "keep" : "close";
    this.#refuse({ ...refusal, reason: "policy-changed", detail: refusal.reason }, close);
    this.#outgoing?.destroy();
  }

  /** Tells the client, if it can still be told, that this is the last answer on its connection. */
  closeAfter(): void {
    if (this.response.headersSent) return;
    this.response.shouldKeepAlive = false;
    this.#last = true;
  }

  /** True once the answer says that the connection ends with it. */
  get isLast(): boolean {
    return this.#last;
  }

  /** The answer is out, where node:http doesn't tell so itself. */
  finished(): void {
    this.#closed();
  }

  /** What came after the header section can't be read. */
  broken(refusal: Refusal): void {
    this.#refuse(refusal, "close");
    this.#outgoing?.destroy();
  }

  get awaitsBody(): boolean {
    return !this.incoming.complete;
  }

  #judge(facts: HttpRequestFacts): Refusal | undefined {
    try {
      this.log.verdict = this.#deps.enforcer.authorize(this.#deps.flow, facts);
      return refusalOf(this.log.verdict);
    } catch (thrown) {
      this.#deps.enforcer.internalError(thrown);
      return forbidden("internal", "");
    }
  }

  async #pass(head: RequestHead): Promise<void> {
    this.#passed = true;
    try {
      await this.#deps.upstream.opened();
    } catch (thrown) {
      this.#upstreamFailed(thrown instanceof Error ? thrown : new Error(String(thrown)));
      return;
    }
    // Forbidden meanwhile, or nobody waits for it any more.
    if (this.#passed && !this.#over) this.#forward(head);
  }

  #forward(head: RequestHead): void {
    const fields = ["Host", head.authority, ...this.#requestFields(head)];
    const outgoing = this.#deps.upstream.request({ method: head.facts.method, target: head.target, fields });
    this.#outgoing = outgoing;
    outgoing.on("error", (error) => this.#upstreamFailed(error));
    outgoing.on("information", (information) => this.#inform(information));
    outgoing.once("response", (answer) => this.#answer(answer));
    outgoing.once("upgrade", (answer, upstream, rest) => {
      if (this.#wish === "websocket") {
        this.#switched = true;
        this.#deps.switched(this, answer, upstream, rest);
      } else {
        upstream.destroy();
        this.#upstreamFailed(new FlowEnd("not-http"));
      }
    });
    if (this.#wish === "websocket" || !this.#hasBody()) {
      outgoing.end();
      // An `end` that nobody reads would leave the message unfinished.
      this.incoming.resume();
      return;
    }
    this.incoming.on("data", (chunk: Buffer) => {
      this.log.bytesSent += chunk.length;
    });
    this.incoming.pipe(outgoing, { end: false });
    this.incoming.once("end", () => {
      const trailers = this.#chunked ? forwardableTrailers(this.incoming.rawTrailers) : [];
      if (trailers.length > 0) outgoing.addTrailers([...pairs(trailers)]);
      outgoing.end();
    });
    outgoing.once("close", () => {
      if (!this.incoming.complete) this.#discardBody();
    });
    setImmediate(() => {
      if (!outgoing.writableEnded && !outgoing.destroyed) outgoing.flushHeaders();
    });
  }

  #requestFields({ facts, fields }: RequestHead): string[] {
    const { rawHeaders } = this.incoming;
    const own: string[] = [];
    if (this.#wish === "websocket") own.push("Connection", "Upgrade", "Upgrade", "websocket");
    else if (membersOf(rawHeaders, "te").includes("trailers")) own.push("Connection", "TE", "TE", "trailers");
    if (this.#chunked) return [...fields, "Transfer-Encoding", "chunked", ...own];
    const framed = valuesOf(fields, "content-length").length > 0 || bodiless.has(facts.method);
    return [...without(fields, (name) => name === "trailer"), ...(framed ? [] : ["Content-Length", "0"]), ...own];
  }

  #inform({ statusCode, statusMessage, rawHeaders }: InformationEvent): void {
    // RFC 9110 §15.2: HTTP/1.0 does not know them. Turns are kept, so the one being answered is this.
    if (this.incoming.httpVersion === "1.0" || this.response.headersSent) return;
    this.response.socket?.write(formatHead(statusCode, statusMessage, endToEnd(rawHeaders)), "latin1");
  }

  #answer(answer: IncomingMessage): void {
    const { response, incoming, log } = this;
    const status = answer.statusCode ?? 502;
    answer.on("error", () => {});
    // Cut off for another reason already.
    if (!this.#passed || this.#over) {
      answer.destroy();
      return;
    }
    log.status = status;
    const chunked = valuesOf(answer.rawHeaders, "transfer-encoding").length > 0;
    const trailers = chunked && incoming.httpVersion !== "1.0" && incoming.method !== "HEAD";
    let fields = endToEnd(answer.rawHeaders);
    if (!trailers) fields = without(fields, (name) => name === "trailer");
    if (status === 426) fields.push("Upgrade", valuesOf(answer.rawHeaders, "upgrade").join(", "));
    if (this.#wish === "websocket" || endsConnection(answer)) this.#last = true;
    if (this.#last) fields.push("Connection", "close");
    response.sendDate = false;
    response.writeHead(status, answer.statusMessage ?? "", fields);
    answer.on("data", (chunk: Buffer) => {
      log.bytesReceived += chunk.length;
    });
    answer.pipe(response, { end: false });
    answer.once("end", () => {
      const late = trailers ? forwardableTrailers(answer.rawTrailers) : [];
      if (late.length > 0) response.addTrailers([...pairs(late)]);
      response.end();
      log.end("ok", "");
    });
    answer.once("close", () => {
      if (answer.complete) return;
      log.end("reset-by-destination", "the application broke off its answer");
      this.#deps.cut("reset-by-destination");
    });
    // Together with what comes of the body at once; alone if nothing does.
    setImmediate(() => {
      if (!response.writableEnded && !response.destroyed) response.flushHeaders();
    });
  }

  #upstreamFailed(error: NodeJS.ErrnoException): void {
    if (this.#over || !this.#passed || this.response.writableEnded) return;
    if (error instanceof UpstreamGone) {
      this.log.end("reset-by-destination", error.message);
      this.#deps.unserved(this);
      return;
    }
    if (this.response.headersSent) {
      this.log.end("reset-by-destination", messageOf(error));
      this.#deps.cut("reset-by-destination");
      return;
    }
    if (error instanceof FlowEnd && error.reason !== "not-http") this.#refuse(unavailable(error.reason, ""), "close");
    else if (error instanceof FlowEnd || error.code?.startsWith("HPE_") === true) {
      this.#refuse(badGateway(messageOf(error)), "close");
    } else {
      // Without the mesh the client would see the same: many try again after it, none after a 5xx.
      this.log.end("reset-by-destination", error.code ?? messageOf(error));
      this.#deps.cut("reset-by-destination");
    }
  }

  #refuse(refusal: Refusal, connection: "keep" | "close"): void {
    const { response, log } = this;
    this.#passed = false;
    if (response.headersSent) {
      log.end(refusal.reason, refusal.detail);
      this.#deps.cut(refusal.reason);
      return;
    }
    log.status = refusal.status;
    log.end(refusal.reason, refusal.detail);
    const fields = refusalFields(refusal);
    if (connection === "close") this.#last = true;
    if (this.#last) fields.push("connection", "close");
    response.writeHead(refusal.status, fields);
    response.end(refusal.body);
    this.#discardBody();
  }

  /** Takes what the client still sends, up to a limit: it reads the answer only when it is done. */
  #discardBody(): void {
    const { incoming } = this;
    if (incoming.complete && incoming.readableEnded) return;
    let discarded = 0;
    incoming.unpipe();
    incoming.on("data", (chunk: Buffer) => {
      discarded += chunk.length;
      if (discarded > this.#options.lingerBytes) this.#deps.cut("ok");
    });
    incoming.resume();
  }

  #hasBody(): boolean {
    return this.#chunked || Number(valuesOf(this.incoming.rawHeaders, "content-length")[0] ?? 0) > 0;
  }

  #bodyIsSmall(): boolean {
    return (
      this.#chunked || Number(valuesOf(this.incoming.rawHeaders, "content-length")[0] ?? 0) <= this.#options.lingerBytes
    );
  }

  #closed(): void {
    if (this.#over) return;
    this.#over = true;
    if (!this.response.writableFinished) {
      this.log.end("reset-by-source", "the client left before the end of the answer");
      this.#outgoing?.destroy();
    }
    const { incoming } = this;
    // What is still to come of the body is no next request.
    if (!this.#hasBody() || incoming.complete || incoming.closed) this.#deps.over(this);
    else incoming.once("close", () => this.#deps.over(this));
  }
}

/** True if nothing can follow this answer on the application's connection. */
function endsConnection(answer: IncomingMessage): boolean {
  const options = membersOf(answer.rawHeaders, "connection");
  if (options.includes("close")) return true;
  return answer.httpVersion === "1.0" && !options.includes("keep-alive");
}

/** A header section as HTTP/1.1 writes it. */
export function formatHead(status: number, message: string, fields: readonly string[]): string {
  const lines = [...pairs(fields)].map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} ${message}\r\n${lines.join("")}\r\n`;
}
