/** A client's HTTP/1 connection: its requests in their order, its limits of time, and how it ends. */
import { type IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Reason } from "../../model/reason.ts";
import type { HandedFlow } from "../driver.ts";
import { FlowEnd } from "../engine.ts";
import type { HttpEnforcerDeps, HttpEnforcerOptions } from "./enforcement.ts";
import { ExchangeLog } from "./exchange-log.ts";
import { endToEnd, membersOf, valuesOf } from "./fields.ts";
import { formatHead, Http1Exchange, type Http1ExchangeDeps, type Wish } from "./http1-exchange.ts";
import { Http1Upstream } from "./http1-upstream.ts";
import { malformedRequest, type Refusal, refusalFields } from "./refusal.ts";
import { asksForUpgrade, asksForWebSocket } from "./request-head.ts";

export class Http1Connection {
  readonly #deps: HttpEnforcerDeps;
  readonly #options: HttpEnforcerOptions;
  readonly #flow: HandedFlow;
  readonly #duplex: Duplex;
  /** Has the parser read on after it had let go. */
  readonly #reattach: () => void;
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
  /** A request that Node's parser has let go of, behind others whose answers are due. */
  #waiting: { readonly incoming: IncomingMessage; readonly wish: Wish } | undefined;
  /** What comes behind the requests that were taken is ignored (RFC 9112 §9.6). */
  #lastSeen = false;

  constructor(
    deps: HttpEnforcerDeps,
    options: HttpEnforcerOptions,
    client: { readonly flow: HandedFlow; readonly duplex: Duplex; readonly reattach: () => void },
  ) {
    this.#deps = deps;
    this.#reattach = client.reattach;
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

  request(incoming: IncomingMessage, response: ServerResponse, wish: Wish): void {
    if (this.#lastSeen) return;
    const exchange = this.#begin(incoming, response, wish);
    // Node's parser drops what it already has of the bytes behind such a message, so no other can be read after it.
    if (asksForUpgrade(incoming.rawHeaders)) {
      this.#lastSeen = true;
      exchange.closeAfter();
    }
    this.#start(exchange);
  }

  #begin(incoming: IncomingMessage, response: ServerResponse, wish: Wish): Http1Exchange {
    clearTimeout(this.#timer);
    const exchange = new Http1Exchange(this.#exchangeDeps(), this.#options, { incoming, response, wish });
    this.#exchanges.add(exchange);
    if (this.#draining) exchange.closeAfter();
    return exchange;
  }

  #start(exchange: Http1Exchange): void {
    if (this.#exchanges.size <= this.#options.maxConcurrentRequests) {
      exchange.start();
      return;
    }
    exchange.log.end("limit-flows", "too many requests wait for their answers");
    this.cut("limit-flows");
  }

  /** A request after which node:http has let go of the connection: CONNECT, or a wish for another protocol, without a body. */
  detached(incoming: IncomingMessage, rest: Buffer): void {
    if (this.#lastSeen) return;
    if (rest.length > 0) this.#duplex.unshift(rest);
    const { method = "", url = "", httpVersion, rawHeaders } = incoming;
    const wish = asksForWebSocket({ method, url, httpVersion, rawHeaders }) ? "websocket" : "nothing";
    // Answers of earlier requests go first.
    if (this.#exchanges.size > 0) this.#waiting = { incoming, wish };
    else this.#answerDetached(incoming, wish);
  }

  #answerDetached(incoming: IncomingMessage, wish: Wish): void {
    const response = new ServerResponse(incoming);
    // The type asks for a socket; a duplex is what node:http itself takes here.
    const socket = this.#duplex as Socket;
    response.assignSocket(socket);
    const exchange = this.#begin(incoming, response, wish);
    if (incoming.httpVersion === "1.0" || membersOf(incoming.rawHeaders, "connection").includes("close")) {
      exchange.closeAfter();
    }
    response.once("finish", () => {
      response.detachSocket(socket);
      exchange.finished();
      if (exchange.isLast) {
        socket.end();
        socket.resume();
      } else {
        this.#reattach();
      }
    });
    this.#start(exchange);
  }

  /** What came is not HTTP/1, or could be read in more than one way. */
  unreadable(error: NodeJS.ErrnoException): void {
    // The parser says it again for all that follows; and what follows the last request is ignored (RFC 9112 §9.6).
    const ignored = this.#lastSeen || error.code === "HPE_CLOSED_CONNECTION";
    if (ignored || this.#duplex.destroyed || this.#failing !== undefined) return;
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
    if (this.#waiting !== undefined) {
      const { incoming, wish } = this.#waiting;
      this.#waiting = undefined;
      this.#answerDetached(incoming, wish);
      return;
    }
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
