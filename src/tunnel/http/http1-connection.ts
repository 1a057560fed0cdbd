/** A client's HTTP/1 connection: its requests in their order, its limits of time, and how it ends. */
import { type IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Reason } from "../../model/reason.ts";
import type { HandedFlow } from "../driver.ts";
import { FlowEnd } from "../engine.ts";
import type { HttpEnforcerDeps, HttpEnforcerOptions } from "./enforcement.ts";
import { ExchangeLog } from "./exchange-log.ts";
import { endToEnd, valuesOf } from "./fields.ts";
import { formatHead, Http1Exchange, type Http1ExchangeDeps, type Wish } from "./http1-exchange.ts";
import { Http1Upstream } from "./http1-upstream.ts";
import { malformedRequest, type Refusal, refusalFields } from "./refusal.ts";
import { asksForWebSocket, readHttp1Head } from "./request-head.ts";

export class Http1Connection {
  readonly #deps: HttpEnforcerDeps;
  readonly #options: HttpEnforcerOptions;
  readonly #flow: HandedFlow;
  readonly #duplex: Duplex;
  readonly #exchanges = new Set<Http1Exchange>();
  readonly #upstream: Http1Upstream;
  readonly #abort = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  /** Whether bytes of a next request have begun to come. */
  #waitsFor: "request" | "rest-of-header" = "rest-of-header";
  /** What can't be read came after requests that are still being answered. */
  #failing: Refusal | undefined;
  /** Some requests can't be answered any more: the connection ends after the answers before them. */
  #unserved = false;
  #draining = false;

  constructor(deps: HttpEnforcerDeps, options: HttpEnforcerOptions, client: { flow: HandedFlow; duplex: Duplex }) {
    this.#deps = deps;
    this.#options = options;
    this.#flow = client.flow;
    this.#duplex = client.duplex;
    this.#upstream = new Http1Upstream(
      {
        dial: () => deps.dialUpstream(client.flow, this.#abort.signal),
        closed: () => this.#upstreamClosed(),
      },
      options,
    );
    this.#arm("rest-of-header");
    client.duplex.once("close", () => this.#closed());
    client.duplex.once("finish", () => this.#linger());
  }

  /** Bytes came; whose they are is the parser's to say. */
  received(): void {
    if (this.#exchanges.size === 0 && this.#waitsFor === "request") this.#arm("rest-of-header");
  }

  /**
   * Whether a request leaves HTTP/1 if the application agrees. Answers of earlier ones would run into what follows; and one that is
   * refused gets its 403 like any other.
   */
  maySwitch({ method = "", url = "", httpVersion, rawHeaders }: IncomingMessage): boolean {
    const message = { method, url, httpVersion, rawHeaders };
    if (this.#exchanges.size > 0 || !asksForWebSocket(message)) return false;
    const reading = readHttp1Head(message);
    try {
      return reading.kind === "head" && this.#deps.authorize(this.#flow, reading.head.facts).outcome === "allow";
    } catch (thrown) {
      this.#deps.internalError(thrown);
      return false;
    }
  }

  request(incoming: IncomingMessage, response: ServerResponse, wish: Wish): void {
    clearTimeout(this.#timer);
    const exchange = new Http1Exchange(this.#exchangeDeps(), this.#options, { incoming, response, wish });
    this.#exchanges.add(exchange);
    if (this.#draining) exchange.closeAfter();
    if (this.#exchanges.size > this.#options.maxConcurrentRequests) {
      exchange.log.end("limit-flows", "too many requests wait for their answers");
      this.cut("limit-flows");
      return;
    }
    exchange.start();
  }

  /** A request after which node:http has let go of the connection: CONNECT, or a change to WebSocket. */
  detached(incoming: IncomingMessage, rest: Buffer, wish: Wish): void {
    if (this.#exchanges.size > 0) {
      // A CONNECT behind requests whose answers are still due: nothing of it can be answered in turn.
      this.cut("policy-unevaluable");
      return;
    }
    if (rest.length > 0) this.#duplex.unshift(rest);
    const response = new ServerResponse(incoming);
    response.shouldKeepAlive = false;
    // The type asks for a socket; a duplex is what node:http itself takes here.
    response.assignSocket(this.#duplex as Socket);
    response.once("finish", () => {
      this.#duplex.end();
      this.#duplex.resume();
    });
    this.request(incoming, response, wish);
  }

  /** What came is not HTTP/1, or could be read in more than one way. */
  unreadable(error: NodeJS.ErrnoException): void {
    // The parser says it again for all that follows; and what follows the last request is ignored (RFC 9112 §9.6).
    if (this.#duplex.destroyed || this.#failing !== undefined || error.code === "HPE_CLOSED_CONNECTION") return;
    const status = error.code === "HPE_HEADER_OVERFLOW" ? 431 : 400;
    const refusal = { ...malformedRequest(status, "malformed request"), detail: error.message };
    this.#failing = refusal;
    const last = [...this.#exchanges].at(-1);
    if (last?.awaitsBody === true) last.broken(refusal);
    else if (this.#exchanges.size === 0) this.#fail(refusal);
  }

  rejudge(): void {
    for (const exchange of this.#exchanges) exchange.rejudge();
  }

  /** The answers that are due end the connection. */
  drain(): void {
    this.#draining = true;
    for (const exchange of this.#exchanges) exchange.closeAfter();
    if (this.#exchanges.size === 0) this.#duplex.end();
  }

  cut(reason: Reason): void {
    this.#duplex.destroy(new FlowEnd(reason));
  }

  #exchangeDeps(): Http1ExchangeDeps {
    return {
      flow: this.#flow,
      enforcer: this.#deps,
      upstream: this.#upstream,
      over: (exchange) => this.#over(exchange),
      unserved: (exchange) => {
        this.#unserved = true;
        if (this.#exchanges.values().next().value === exchange) this.cut("reset-by-destination");
      },
      cut: (reason) => this.cut(reason),
      switched: (...event) => this.#switched(...event),
    };
  }

  #over(exchange: Http1Exchange): void {
    this.#exchanges.delete(exchange);
    if (this.#unserved && !this.#duplex.writableEnded) this.cut("reset-by-destination");
    if (this.#exchanges.size > 0 || this.#duplex.destroyed) return;
    if (this.#draining) this.#duplex.end();
    else if (this.#failing === undefined) this.#arm("request");
    else this.#fail(this.#failing);
  }

  #fail(refusal: Refusal): void {
    if (this.#duplex.writableEnded) return;
    const log = new ExchangeLog(
      { flow: this.#flow, tell: (record) => this.#deps.requestEnded(record) },
      { protocol: "HTTP/1.1", method: "" },
    );
    log.status = refusal.status;
    log.end(refusal.reason, refusal.detail);
    const fields = [...refusalFields(refusal), "connection", "close"];
    this.#duplex.end(formatHead(refusal.status, "", fields) + refusal.body, "latin1");
    this.#duplex.resume();
  }

  /** 101: from here on the bytes are the application's, only watched for the end of the permission. */
  #switched(exchange: Http1Exchange, answer: IncomingMessage, upstream: Duplex, head: Buffer): void {
    const duplex = this.#duplex;
    const { response, log } = exchange;
    log.status = 101;
    response.detachSocket(duplex as Socket);
    const agreed = valuesOf(answer.rawHeaders, "upgrade").join(", ");
    const fields = [...endToEnd(answer.rawHeaders), "Connection", "Upgrade", "Upgrade", agreed];
    duplex.write(formatHead(101, answer.statusMessage ?? "", fields), "latin1");
    if (head.length > 0) upstream.unshift(head);
    duplex.on("data", (chunk: Buffer) => {
      log.bytesSent += chunk.length;
    });
    upstream.on("data", (chunk: Buffer) => {
      log.bytesReceived += chunk.length;
    });
    duplex.pipe(upstream);
    upstream.pipe(duplex);
    upstream.once("close", () => {
      if (upstream.readableEnded && upstream.writableFinished) return;
      log.end("reset-by-destination", "");
      this.cut("reset-by-destination");
    });
    duplex.once("close", () => {
      log.end(duplex.readableEnded && duplex.writableFinished ? "ok" : "reset-by-source", "");
      this.#exchanges.delete(exchange);
    });
  }

  #upstreamClosed(): void {
    if (this.#exchanges.size === 0) this.#duplex.end();
  }

  #arm(waitsFor: "request" | "rest-of-header"): void {
    clearTimeout(this.#timer);
    this.#waitsFor = waitsFor;
    const { headerTimeout, idleTimeout } = this.#options;
    const ms = waitsFor === "request" ? idleTimeout : headerTimeout;
    this.#timer = setTimeout(() => {
      if (waitsFor === "request") this.#duplex.end();
      else this.#fail({ ...malformedRequest(408, "the request did not come in time") });
    }, ms);
    this.#timer.unref();
  }

  /** The last answer is out. A client that goes on sending would, were the connection closed at once, lose it to a reset. */
  #linger(): void {
    clearTimeout(this.#timer);
    if (this.#duplex.readableEnded) return;
    this.#timer = setTimeout(() => this.cut("ok"), this.#options.lingerTimeout);
    this.#timer.unref();
  }

  #closed(): void {
    clearTimeout(this.#timer);
    this.#abort.abort();
    this.#upstream.destroy();
  }
}
