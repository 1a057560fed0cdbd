/**
 * One HTTP/2 stream: read, judged, sent on as a stream of the application's connection, answered. Windows of HTTP/2 carry back
 * pressure, RST_STREAM carries what breaks, with its code, in both directions.
 */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  constants,
  type Http2Stream,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import { messageOf } from "../../lib/errors.ts";
import type { HttpRequestFacts } from "../../model/authorization.ts";
import type { HandedFlow } from "../driver.ts";
import { FlowEnd } from "../engine.ts";
import { errorName, resetStream } from "../typescript/leg.ts";
import type { HttpEnforcerDeps } from "./enforcement.ts";
import { ExchangeLog } from "./exchange-log.ts";
import { type Fields, forwardableTrailers, pairs, valuesOf, without } from "./fields.ts";
import {
  badGateway,
  forbidden,
  malformedRequest,
  type Refusal,
  refusalFields,
  refusalOf,
  unavailable,
} from "./refusal.ts";
import { type RequestHead, readHttp2Head } from "./request-head.ts";

/** Node would date an answer that the application did not date. */
const asSent: object = { sendDate: false };

export interface Http2ExchangeDeps {
  readonly flow: HandedFlow;
  readonly enforcer: HttpEnforcerDeps;
  /** The session with the application, opened by the first who asks. */
  upstream(): Promise<ClientHttp2Session>;
  over(exchange: Http2Exchange): void;
}

export class Http2Exchange {
  readonly #deps: Http2ExchangeDeps;
  readonly #stream: ServerHttp2Stream;
  readonly #log: ExchangeLog;
  #facts: HttpRequestFacts | undefined;
  #outgoing: ClientHttp2Stream | undefined;
  #refused = false;

  constructor(deps: Http2ExchangeDeps, stream: ServerHttp2Stream, method: string) {
    this.#deps = deps;
    this.#stream = stream;
    const { flow, enforcer } = deps;
    this.#log = new ExchangeLog(
      { flow, tell: (record) => enforcer.requestEnded(record) },
      { protocol: "HTTP/2", method },
    );
    stream.on("error", () => {});
    stream.once("close", () => this.#closed());
  }

  start(rawHeaders: Fields): void {
    const reading = readHttp2Head(rawHeaders);
    if (reading.kind === "malformed") {
      this.#refuse(malformedRequest(reading.status, reading.detail));
      return;
    }
    if (reading.kind === "connect") {
      this.#log.facts = reading.facts;
      this.#refuse(forbidden("policy-unevaluable", "what a CONNECT tunnel carries can't be judged"));
      return;
    }
    this.#facts = reading.head.facts;
    this.#log.facts = reading.head.facts;
    const refusal = this.#judge(reading.head.facts);
    if (refusal !== undefined) {
      this.#refuse(refusal);
      return;
    }
    const { endAfterHeaders } = this.#stream;
    this.#deps.upstream().then(
      (session) => this.#forward(session, reading.head, endAfterHeaders),
      (thrown: unknown) => {
        const reason = thrown instanceof FlowEnd ? thrown.reason : "connect-failed";
        this.#refuse(unavailable(reason, messageOf(thrown)));
      },
    );
  }

  /** After a change of policy. */
  rejudge(): void {
    if (this.#facts === undefined || this.#refused || this.#stream.closed) return;
    const refusal = this.#judge(this.#facts);
    if (refusal === undefined) return;
    this.#refuse({ ...refusal, reason: "policy-changed", detail: refusal.reason });
    if (this.#outgoing !== undefined) resetStream(this.#outgoing, constants.NGHTTP2_CANCEL);
  }

  #judge(facts: HttpRequestFacts): Refusal | undefined {
    try {
      this.#log.verdict = this.#deps.enforcer.authorize(this.#deps.flow, facts);
      return refusalOf(this.#log.verdict);
    } catch (thrown) {
      this.#deps.enforcer.internalError(thrown);
      return forbidden("internal", "");
    }
  }

  #forward(session: ClientHttp2Session, head: RequestHead, endAfterHeaders: boolean): void {
    const stream = this.#stream;
    // Reset, or forbidden meanwhile.
    if (this.#refused || stream.closed || stream.destroyed) return;
    let outgoing: ClientHttp2Stream;
    try {
      const authority = head.authority === "" ? [] : [":authority", head.authority];
      const pseudo = [":method", head.facts.method, ":scheme", head.scheme, ...authority, ":path", head.target];
      const fields = [...pseudo, ...head.fields];
      outgoing = session.request(fields, { endStream: endAfterHeaders, waitForTrailers: !endAfterHeaders });
    } catch (thrown) {
      this.#refuse(unavailable("reset-by-destination", messageOf(thrown)));
      return;
    }
    this.#outgoing = outgoing;
    let failure: NodeJS.ErrnoException | undefined;
    outgoing.on("error", (error) => {
      failure = error;
    });
    outgoing.on("headers", (_headers, _flags, raw) => this.#inform(raw));
    outgoing.once("response", (_headers, flags, raw) => this.#answer(outgoing, raw, flags));
    outgoing.once("close", () => this.#outgoingClosed(outgoing, failure));
    if (endAfterHeaders) return;
    stream.on("data", (chunk: Buffer) => {
      this.#log.bytesSent += chunk.length;
    });
    forwardTrailers(stream, outgoing);
    stream.pipe(outgoing);
  }

  #inform(raw: Fields): void {
    if (this.#stream.headersSent || this.#stream.closed) return;
    this.#stream.additionalHeaders(objectOf(raw));
  }

  #answer(outgoing: ClientHttp2Stream, raw: Fields, flags: number): void {
    const stream = this.#stream;
    if (this.#refused || stream.closed || stream.destroyed) {
      resetStream(outgoing, constants.NGHTTP2_CANCEL);
      return;
    }
    this.#log.status = Number(valuesOf(raw, ":status")[0] ?? 0);
    const endStream = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    stream.respond([...raw], { endStream, waitForTrailers: !endStream, ...asSent });
    if (endStream) {
      outgoing.resume();
      return;
    }
    outgoing.on("data", (chunk: Buffer) => {
      this.#log.bytesReceived += chunk.length;
    });
    forwardTrailers(outgoing, stream);
    outgoing.pipe(stream);
  }

  #outgoingClosed(outgoing: ClientHttp2Stream, failure: NodeJS.ErrnoException | undefined): void {
    const stream = this.#stream;
    if (this.#refused) return;
    const code = outgoing.rstCode ?? constants.NGHTTP2_NO_ERROR;
    const whole = code === constants.NGHTTP2_NO_ERROR && this.#log.status !== 0 && outgoing.readableEnded;
    if (whole) {
      this.#log.end("ok", "");
      // RFC 9113 §8.1: the application has said all and wants no more of the request.
      if (!stream.readableEnded) leaveWhenWritten(stream);
      return;
    }
    if (stream.closed || stream.destroyed) return;
    const detail = failure?.message ?? `RST_STREAM ${errorName(code)}`;
    if (failure?.code === "ERR_HTTP2_ERROR" && !stream.headersSent) {
      this.#refuse(badGateway(detail));
      return;
    }
    this.#log.end("reset-by-destination", detail);
    resetStream(stream, code === constants.NGHTTP2_NO_ERROR ? constants.NGHTTP2_INTERNAL_ERROR : code);
  }

  #refuse(refusal: Refusal): void {
    const stream = this.#stream;
    this.#refused = true;
    const answerable = !stream.closed && !stream.destroyed && !stream.headersSent;
    if (answerable) this.#log.status = refusal.status;
    this.#log.end(refusal.reason, refusal.detail);
    if (!answerable) {
      resetStream(stream, constants.NGHTTP2_CANCEL);
      return;
    }
    stream.respond([":status", String(refusal.status), ...refusalFields(refusal)]);
    stream.end(refusal.body);
    leaveWhenWritten(stream);
  }

  #closed(): void {
    const { rstCode } = this.#stream;
    if (this.#outgoing !== undefined && !this.#outgoing.closed) {
      const code = rstCode === constants.NGHTTP2_NO_ERROR ? constants.NGHTTP2_CANCEL : rstCode;
      resetStream(this.#outgoing, code ?? constants.NGHTTP2_CANCEL);
    }
    this.#log.end("reset-by-source", "the client left before the end of the answer");
    this.#deps.over(this);
  }
}

/** What `from` has behind its body becomes what `to` has behind its. */
function forwardTrailers(from: Http2Stream, to: Http2Stream): void {
  let trailers: OutgoingHttpHeaders = {};
  from.once("trailers", (_trailers, _flags, raw) => {
    trailers = objectOf(forwardableTrailers(raw));
  });
  to.once("wantTrailers", () => {
    if (!to.closed && !to.destroyed) to.sendTrailers(trailers);
  });
}

function leaveWhenWritten(stream: ServerHttp2Stream): void {
  stream.resume();
  const leave = () => {
    if (!stream.closed && !stream.readableEnded) stream.close(constants.NGHTTP2_NO_ERROR);
  };
  if (stream.writableFinished) leave();
  else stream.once("finish", leave);
}

/** Repeated fields as lists: the one form that 1xx and trailers take. */
function objectOf(fields: Fields): OutgoingHttpHeaders {
  const headers: Record<string, string | string[]> = {};
  for (const [name, value] of pairs(without(fields, () => false))) {
    const before = headers[name];
    headers[name] = before === undefined ? value : [before, value].flat();
  }
  return headers;
}
