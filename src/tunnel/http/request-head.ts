/**
 * What a request asks for, in the one reading that is both judged and forwarded. A head that two readers could read differently is
 * refused here, whatever a policy would say.
 */
import type { HttpRequestFacts } from "../../model/authorization.ts";
import { endToEnd, type Fields, membersOf, pairs, valuesOf, without } from "./fields.ts";
import { normaliseTarget } from "./request-path.ts";

export interface RequestHead {
  readonly facts: HttpRequestFacts;
  /** `http` or `https`, as an HTTP/2 client said. */
  readonly scheme: string;
  /** Path and query, or `*`. */
  readonly target: string;
  /** As the client wrote it; empty if it named none. */
  readonly authority: string;
  /** End-to-end fields without `Host`. */
  readonly fields: Fields;
}

export type HeadReading =
  | { readonly kind: "head"; readonly head: RequestHead }
  | { readonly kind: "malformed"; readonly status: 400 | 501 | 505; readonly detail: string }
  /** What is in a tunnel through the application can't be judged. */
  | { readonly kind: "connect"; readonly facts: HttpRequestFacts };

/** A request as node:http's parser read it. */
export interface Http1Message {
  readonly method: string;
  readonly url: string;
  readonly httpVersion: string;
  readonly rawHeaders: Fields;
}

/** `reg-name`, IP literals and a port (RFC 3986 §3.2.2): no user, no path. */
const authorityBytes = /^[A-Za-z0-9\-._~%!$&'()*+,;=:[\]]+$/;

const framing: ReadonlySet<string> = new Set(["content-length", "transfer-encoding"]);

export function readHttp1Head({ method, url, httpVersion, rawHeaders }: Http1Message): HeadReading {
  if (httpVersion !== "1.1" && httpVersion !== "1.0")
    return malformed(505, `HTTP/${httpVersion} on an HTTP/1 connection`);
  const hosts = valuesOf(rawHeaders, "host");
  if (hosts.length > 1) return malformed(400, "more than one Host");
  const [host] = hosts;
  if (host === undefined && httpVersion === "1.1") return malformed(400, "no Host");
  const codings = valuesOf(rawHeaders, "transfer-encoding");
  if (codings.length > 0) {
    // RFC 9112 §6.1: a length in HTTP/1.0 with Transfer-Encoding is faulty framing.
    if (httpVersion === "1.0") return malformed(400, "Transfer-Encoding in HTTP/1.0");
    if (codings.length > 1 || codings[0]?.toLowerCase() !== "chunked") {
      return malformed(501, "a transfer coding other than chunked");
    }
  }
  for (const [name] of pairs(rawHeaders)) {
    // Gateway interfaces know no difference between "_" and "-" (RFC 3875 §4.1.18), and what frames a body must be one thing to all.
    if (framing.has(name.toLowerCase().replaceAll("_", "-")) && name.includes("_")) {
      return malformed(400, "a field that some would take for framing");
    }
  }
  let target = url;
  let authority = host ?? "";
  if (method !== "CONNECT" && !url.startsWith("/") && url !== "*") {
    // RFC 9112 §3.2.2: an absolute target's authority counts, and the Host field is replaced by it.
    const absolute = /^https?:\/\/([^/?#]*)(.*)$/i.exec(url);
    if (absolute === null) return malformed(400, "a request target of no known form");
    authority = absolute[1] ?? "";
    const rest = absolute[2] ?? "";
    if (authority === "") return malformed(400, "an absolute target without a host");
    target = rest.startsWith("/") ? rest : `/${rest}`;
  }
  const fields = endToEnd(without(rawHeaders, (name) => name === "host"));
  return readHead({ method, scheme: "http", target, authority, fields });
}

/** `rawHeaders` of an HTTP/2 stream, pseudo-header fields among them; nghttp2 has checked RFC 9113 §8.2 and §8.3. */
export function readHttp2Head(rawHeaders: Fields): HeadReading {
  const pseudo = (name: string) => valuesOf(rawHeaders, name)[0];
  const method = pseudo(":method") ?? "";
  const scheme = pseudo(":scheme") ?? "http";
  const hosts = valuesOf(rawHeaders, "host");
  const authority = pseudo(":authority") ?? hosts[0] ?? "";
  if (hosts.length > 1 || hosts.some((host) => host.toLowerCase() !== authority.toLowerCase())) {
    return malformed(400, "Host and :authority differ");
  }
  if (method !== "CONNECT" && scheme !== "http" && scheme !== "https") return malformed(400, "an unknown scheme");
  const fields = without(rawHeaders, (name) => name.startsWith(":") || name === "host");
  return readHead({ method, scheme, target: pseudo(":path") ?? "", authority, fields });
}

function readHead(parts: Omit<RequestHead, "facts"> & { readonly method: string }): HeadReading {
  const { method, scheme, target, authority, fields } = parts;
  if (authority !== "" && !authorityBytes.test(authority)) return malformed(400, "a Host that names no host");
  if (method === "CONNECT") return { kind: "connect", facts: factsOf(method, authority, "", fields) };
  if (target === "*") {
    if (method !== "OPTIONS") return malformed(400, "* asked for by another method than OPTIONS");
    return {
      kind: "head",
      head: { facts: factsOf(method, authority, "*", fields), scheme, target, authority, fields },
    };
  }
  const normal = normaliseTarget(target);
  if (normal === undefined) return malformed(400, "a path that can be read in more than one way");
  const facts = factsOf(method, authority, normal.path, fields);
  return { kind: "head", head: { facts, scheme, target: normal.target, authority, fields } };
}

function factsOf(method: string, authority: string, path: string, fields: Fields): HttpRequestFacts {
  return {
    method,
    host: authority.toLowerCase(),
    path,
    header: (name) => {
      if (name === "host") return authority === "" ? [] : [authority];
      const values = valuesOf(fields, name);
      // RFC 9113 §8.2.3: HTTP/2 may cut the cookies into several fields; an application sees one.
      return name === "cookie" && values.length > 1 ? [values.join("; ")] : values;
    },
  };
}

function malformed(status: 400 | 501 | 505, detail: string): HeadReading {
  return { kind: "malformed", status, detail };
}

/**
 * The one protocol that a connection may change to. `h2c` and others would carry requests past the reading of them: RFC 9110 §7.8
 * lets a server ignore the wish, so such requests are served as what they are, without it.
 */
export function asksForWebSocket({ method, httpVersion, rawHeaders }: Http1Message): boolean {
  return (
    method === "GET" &&
    httpVersion === "1.1" &&
    !hasFraming(rawHeaders) &&
    asksForUpgrade(rawHeaders) &&
    membersOf(rawHeaders, "upgrade").includes("websocket")
  );
}

/** Whether Node's parser takes the message for the last one of HTTP/1. */
export function asksForUpgrade(fields: Fields): boolean {
  return valuesOf(fields, "upgrade").length > 0 && membersOf(fields, "connection").includes("upgrade");
}

export function hasFraming(fields: Fields): boolean {
  return valuesOf(fields, "content-length").length > 0 || valuesOf(fields, "transfer-encoding").length > 0;
}
