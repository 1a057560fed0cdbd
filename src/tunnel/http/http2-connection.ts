/** A client's HTTP/2 connection with prior knowledge (RFC 9113 §3.3), and the one connection to the application that goes with it. */
import {
  type ClientHttp2Session,
  connect,
  constants,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { Duplex } from "node:stream";
import type { Reason } from "../../model/reason.ts";
import type { HandedFlow } from "../driver.ts";
import { FlowEnd } from "../engine.ts";
import type { HttpEnforcerDeps, HttpEnforcerOptions } from "./enforcement.ts";
import { valuesOf } from "./fields.ts";
import { Http2Exchange } from "./http2-exchange.ts";

export class Http2Connection {
  readonly #deps: HttpEnforcerDeps;
  readonly #options: HttpEnforcerOptions;
  readonly #flow: HandedFlow;
  readonly #duplex: Duplex;
  readonly #session: ServerHttp2Session;
  readonly #exchanges = new Set<Http2Exchange>();
  readonly #abort = new AbortController();
  #upstream: Promise<ClientHttp2Session> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(deps: HttpEnforcerDeps, options: HttpEnforcerOptions, client: { flow: HandedFlow; duplex: Duplex }) {
    this.#deps = deps;
    this.#options = options;
    this.#flow = client.flow;
    this.#duplex = client.duplex;
    this.#session = performServerHandshake(client.duplex, {
      settings: {
        maxConcurrentStreams: options.maxConcurrentRequests,
        maxHeaderListSize: options.maxHeaderSize,
        enableConnectProtocol: false,
      },
    });
    this.#session.on("stream", (stream, _headers, _flags, rawHeaders) => this.#stream(stream, rawHeaders));
    this.#session.on("error", () => {});
    this.#session.once("close", () => this.#closed());
    this.#arm(options.headerTimeout);
  }

  rejudge(): void {
    for (const exchange of this.#exchanges) exchange.rejudge();
  }

  drain(): void {
    this.#session.close();
  }

  cut(reason: Reason): void {
    this.#duplex.destroy(new FlowEnd(reason));
  }

  #stream(stream: ServerHttp2Stream, rawHeaders: string[]): void {
    clearTimeout(this.#timer);
    const exchange = new Http2Exchange(
      {
        flow: this.#flow,
        enforcer: this.#deps,
        upstream: () => (this.#upstream ??= this.#connect()),
        over: (ended) => this.#over(ended),
      },
      stream,
      valuesOf(rawHeaders, ":method")[0] ?? "",
    );
    this.#exchanges.add(exchange);
    exchange.start(rawHeaders);
  }

  async #connect(): Promise<ClientHttp2Session> {
    const socket = await this.#deps.dialUpstream(this.#flow, this.#abort.signal);
    socket.on("error", () => {});
    if (this.#session.destroyed) {
      socket.destroy();
      throw new FlowEnd("reset-by-source");
    }
    // The address is Node's wish for a URL; the socket is there already, and each request names its authority.
    const session = connect("http://application", {
      createConnection: () => socket,
      maxHeaderListPairs: 65_535,
      settings: { enablePush: false, maxHeaderListSize: this.#options.maxHeaderSize },
    });
    session.on("error", () => {});
    session.on("goaway", (code) => {
      // Nothing new is taken there; what is open may end.
      if (code === constants.NGHTTP2_NO_ERROR) this.#session.close();
    });
    session.once("close", () => this.#session.close());
    return session;
  }

  #over(exchange: Http2Exchange): void {
    this.#exchanges.delete(exchange);
    if (this.#exchanges.size === 0 && !this.#session.destroyed) this.#arm(this.#options.idleTimeout);
  }

  #arm(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#session.close(), ms);
    this.#timer.unref();
  }

  #closed(): void {
    clearTimeout(this.#timer);
    this.#abort.abort();
    this.#upstream?.then(
      (session) => session.destroy(),
      () => {},
    );
    const duplex = this.#duplex;
    if (duplex.destroyed) return;
    const leave = () => duplex.destroy(new FlowEnd("ok"));
    this.#timer = setTimeout(leave, this.#options.lingerTimeout);
    duplex.once("close", () => clearTimeout(this.#timer));
    duplex.end(leave);
  }
}
