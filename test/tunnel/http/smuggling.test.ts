/**
 * Attempts to get a request past the reading of it, as a table. Each is first given to careless servers directly, where at least one
 * of them must believe to see the forbidden request: an attempt that could not work anywhere proves nothing. Then it goes through the
 * enforcer, and none of them may.
 */
import { duplexPair } from "node:stream";
import { afterEach, describe, expect, test } from "vitest";
import { allowed, denied, Gate, listen, type Policy } from "./support/gate.ts";
import { type Believed, CarelessReader, carelessness, PermissiveServer } from "./support/permissive.ts";
import { Stage } from "./support/stage.ts";

const stage = new Stage();

afterEach(() => stage.close());

/** Everyone may read the shop; nobody may do anything else. */
const policy: Policy = (request) => {
  const { method, path, host } = request;
  const reads = method === "GET" || method === "POST" || method === "OPTIONS";
  const refused = path.startsWith("/admin") || host.startsWith("internal") || request.header("x-role").includes("root");
  return reads && !refused ? allowed : denied;
};

function forbidden({ method, path, host, fields }: Believed): boolean {
  return (
    !["GET", "POST", "OPTIONS"].includes(method) ||
    path.startsWith("/admin") ||
    host.startsWith("internal") ||
    fields.get("x-role") === "root"
  );
}

const H = "Host: shop\r\n";
const secret = `GET /admin HTTP/1.1\r\n${H}\r\n`;
const post = (fields: string, body: string) => `POST /shop HTTP/1.1\r\n${H}${fields}\r\n${body}`;
const get = (target: string, fields = H) => `GET ${target} HTTP/1.1\r\n${fields}\r\n`;
const ended = "0\r\n\r\n";
const sized = (text: string) => `Content-Length: ${text.length}\r\n`;
/** The whole of it is one chunked body for who reads chunks, and ends early for who doesn't. */
const hiddenChunk = `${secret.length.toString(16)}\r\n${secret}\r\n${ended}`;

const attempts: Record<string, string> = {
  // One framing for us, another behind.
  "CL.TE": post(`${sized(ended + secret)}Transfer-Encoding: chunked\r\n`, ended + secret),
  "TE.CL": post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", hiddenChunk),
  "TE.CL of nothing": post("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", hiddenChunk),
  "two lengths": post(`Content-Length: 0\r\n${sized(secret)}`, secret),
  "two lengths, the other way": post(`${sized(secret)}Content-Length: 0\r\n`, secret),
  "a list of lengths": post(`Content-Length: 0, ${secret.length}\r\n`, secret),
  "a signed length": post("Content-Length: +0\r\n", secret),
  "a negative length": post("Content-Length: -0\r\n", secret),
  "an empty length": post("Content-Length:\r\n", secret),
  "a length with a blank in it": post(`Content-Length: 0 ${secret.length}\r\n`, secret),
  "a length in hexadecimal": post("Content-Length: 0x0\r\n", secret),
  "a length that overflows": post("Content-Length: 18446744073709551616\r\n", secret).replace(
    "18446744073709551616",
    "0\x0b18446744073709551616",
  ),

  // A coding that one side takes for chunked and the other doesn't.
  "TE.TE xchunked": post(`${sized(ended + secret)}Transfer-Encoding: xchunked\r\n`, ended + secret),
  "TE.TE chunked, identity": post("Transfer-Encoding: chunked, identity\r\n", ended + secret),
  "TE.TE identity, chunked": post(`${sized(ended + secret)}Transfer-Encoding: identity, chunked\r\n`, ended + secret),
  "TE.TE doubled": post(
    `${sized(ended + secret)}Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n`,
    ended + secret,
  ),
  "TE.TE doubled, the other way": post(
    `${sized(ended + secret)}Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n`,
    ended + secret,
  ),
  "TE.TE space before the colon": post(`${sized(ended + secret)}Transfer-Encoding : chunked\r\n`, ended + secret),
  "TE.TE tab before the colon": post(`${sized(ended + secret)}Transfer-Encoding\t: chunked\r\n`, ended + secret),
  "TE.TE vertical tab": post(`${sized(ended + secret)}Transfer-Encoding: \x0bchunked\r\n`, ended + secret),
  "TE.TE quoted": post(`${sized(ended + secret)}Transfer-Encoding: "chunked"\r\n`, ended + secret),
  "TE.TE folded": post(`${sized(ended + secret)}Transfer-Encoding:\r\n chunked\r\n`, ended + secret),
  "TE.TE folded name": post(`${sized(ended + secret)}X: a\r\n Transfer-Encoding: chunked\r\n`, ended + secret).replace(
    "X: a\r\n Transfer",
    "X: a\rTransfer",
  ),
  "TE.TE behind a bare LF": post(`${sized(ended + secret)}X: a\nTransfer-Encoding: chunked\r\n`, ended + secret),
  "TE.TE with a parameter": post(`${sized(ended + secret)}Transfer-Encoding: chunked;q=1\r\n`, ended + secret),
  "TE.TE NUL": post(`${sized(ended + secret)}Transfer-Encoding: chunked\0\r\n`, ended + secret),
  "TE in HTTP/1.0": `POST /shop HTTP/1.0\r\n${H}${sized(ended + secret)}Transfer-Encoding: chunked\r\n\r\n${ended}${secret}`,
  "TE with an underscore": post(`${sized(ended + secret)}Transfer_Encoding: chunked\r\n`, ended + secret),
  "CL with an underscore": post(`Content_Length: 0\r\nTransfer-Encoding: chunked\r\n`, hiddenChunk),

  // Chunks read in two ways.
  "a chunk size with a bare LF": post("Transfer-Encoding: chunked\r\n", `0\n\n${secret}`),
  "a chunk extension with a bare LF": post("Transfer-Encoding: chunked\r\n", `1;\nxx\r\n0\r\n\r\n${secret}`),
  "a chunk size in prefixed hexadecimal": post("Transfer-Encoding: chunked\r\n", `0x0\r\n\r\n${secret}`),
  "a negative chunk size": post("Transfer-Encoding: chunked\r\n", `-0\r\n\r\n${secret}`),
  "a chunk size that overflows": post("Transfer-Encoding: chunked\r\n", `0 10000000000000000\r\n\r\n${secret}`),
  "a chunk longer than its size": post("Transfer-Encoding: chunked\r\n", `1\r\nx0\r\n\r\n${secret}`),
  "a chunk that ends with a bare LF": post("Transfer-Encoding: chunked\r\n", `1\r\nx\n0\r\n\r\n${secret}`),
  "a length in the trailers": post("Transfer-Encoding: chunked\r\n", `0\r\nContent-Length: 0\r\n\r\n${secret}`),
  "a request behind a chunked body": post("Transfer-Encoding: chunked\r\n", `1;a="\r\nx\r\n0\r\n\r\n${secret}`),

  // Lines read in two ways.
  "bare LFs": `GET /shop HTTP/1.1\nHost: shop\n\n${secret}`,
  "a bare LF in a value": get("/shop", `${H}X: a\n\nGET /admin HTTP/1.1\r\n`),
  "a bare CR in a value": get("/shop", `${H}X: a\r\rGET /admin HTTP/1.1\r\r`),
  "a request in a folded line": get("/shop", `${H}X: a\r\n X-Role: root\r\n`).replace("\r\n X-Role", "\nX-Role"),
  "a field folded at the start": get("/shop", ` X: y\r\n${H}`).replace("/shop", "/admin"),
  "a NUL in a value": get("/shop", `${H}X-Role: root\0\r\n`).replace("root\0", "\0\r\nX-Role: root"),
  "a request line of four words": `GET /admin /shop HTTP/1.1\r\n${H}\r\n`,
  "a tab in the request line": `GET\t/admin HTTP/1.1\r\n${H}\r\n`,
  "HTTP/0.9": "GET /admin\r\n\r\n",
  "HTTP/2.0 on HTTP/1": `GET /admin HTTP/2.0\r\n${H}\r\n`,
  "a lower-case method": `delete /shop HTTP/1.1\r\n${H}\r\n`,
  "an unknown method": `FROB /shop HTTP/1.1\r\n${H}\r\n`,
  "an empty line first": `\r\n\r\n${secret}`,
  pipelining: get("/shop") + secret + get("/shop"),
  "bytes behind Connection: close": get("/shop", `${H}Connection: close\r\n`) + secret,

  // Hosts.
  "two Hosts": get("/shop", `${H}Host: internal\r\n`),
  "two Hosts, the other way": get("/shop", `Host: internal\r\n${H}`),
  "an absolute target": get("http://internal/shop"),
  "an absolute target and no Host": get("http://internal/shop", ""),
  "an absolute target with another scheme": get("https://internal/shop"),
  "an absolute target of the forbidden path": get("http://shop/admin"),
  "an absolute target without a path": get("http://internal"),
  "a Host in capitals": get("/shop", "Host: INTERNAL\r\n").replace("INTERNAL", "internal"),
  "a space before the Host's colon": get("/shop", "Host : internal\r\n"),
  "a Host behind a folded line": get("/shop", `X: a\n${H.replace("shop", "internal")}`),
  "a second Host with a space": get("/shop", `${H} Host: internal\r\n`).replace(" Host", "\rHost"),

  // Paths.
  "dot segments": get("/shop/../admin"),
  "encoded dot segments": get("/shop/%2e%2e/admin"),
  "half-encoded dot segments": get("/shop/.%2E/admin"),
  "dot segments above the root": get("/../../admin"),
  "a single dot": get("/./admin"),
  "an encoded single dot": get("/%2e/admin"),
  backslashes: get("/shop\\..\\admin"),
  "a backslash first": get("\\admin").replace("GET \\", "GET /shop/..\\"),
  "encoded letters": get("/%61dmin"),
  "all letters encoded": get("/%61%64%6d%69%6e"),
  "twice decoded dots": get("/shop/%%32%65%%32%65/admin").replace("%%32%65%%32%65", "%2e%%32e").replace("%%32e", "%2e"),
  "a fragment": get("/admin#/shop"),
  "a query that looks like a path": get("/admin?/shop"),
  "a trailing dot segment": get("/admin/shop/.."),
  "OPTIONS of everything, then more": `OPTIONS * HTTP/1.1\r\n${H}\r\n${secret}`,
  "* with GET": `GET * HTTP/1.1\r\nHost: internal\r\n\r\n`,

  // Fields.
  "a doubled field": get("/shop", `${H}X-Role: guest\r\nX-Role: root\r\n`),
  "a field that Connection names": get("/shop", `${H}Connection: X-Role\r\nX-Role: root\r\n`),
  "a Host that Connection names": get("/shop", "Host: internal\r\nConnection: Host\r\n"),
  "a name in another letter case": get("/shop", `${H}x-ROLE: root\r\n`),
  "white space around a value": get("/shop", `${H}X-Role: \t root \t\r\n`),

  // Other protocols.
  "a CONNECT tunnel": `CONNECT internal:80 HTTP/1.1\r\nHost: internal:80\r\n\r\n${secret}`,
  h2c:
    get("/shop", `${H}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n`) +
    secret,
  "TLS within HTTP": get("/shop", `${H}Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n`) + secret,
  "a WebSocket that the application doesn't agree to":
    get("/shop", `${H}Connection: Upgrade\r\nUpgrade: websocket\r\n`) + secret,
  "a WebSocket with a body": post(`${sized(ended)}Connection: Upgrade\r\nUpgrade: websocket\r\n`, ended + secret),
  "a body behind Expect": post(`${sized(ended)}Expect: 100-continue\r\n`, ended + secret),
  "another expectation": post(`${sized(ended)}Expect: 100-continue, x\r\n`, ended + secret),
  "a body of GET": get("/shop", `${H}Content-Length: 0\r\n`) + secret,
  "a request in a refused body": `DELETE /shop HTTP/1.1\r\n${H}${sized(secret)}\r\n${secret}`,
};

/** Hands the bytes over in these pieces and waits until the connection is over or everything has been answered. */
async function play(gate: Gate, pieces: readonly string[]): Promise<string> {
  const [plaintext, client] = duplexPair();
  let answers = "";
  client.on("data", (chunk: Buffer) => {
    answers += chunk.toString("latin1");
  });
  client.on("error", () => {});
  const over = new Promise<void>((resolve) => plaintext.once("close", () => resolve()));
  gate.hand(plaintext);
  for (const piece of pieces) {
    if (client.destroyed) break;
    client.write(piece, "latin1");
    await new Promise((resolve) => setImmediate(resolve));
  }
  client.end();
  await over;
  // What was answered may still be on its way between the two ends.
  await new Promise((resolve) => setImmediate(resolve));
  return answers;
}

describe("a forbidden request never reaches the application", () => {
  test.for(Object.entries(attempts))("%s", async ([, text]) => {
    const believed = carelessness.flatMap((how) => {
      const reader = new CarelessReader(how);
      reader.feed(text);
      return reader.requests;
    });
    expect(believed.some(forbidden)).toBe(true);
    for (const how of carelessness) {
      const careless = new PermissiveServer(how);
      const port = await listen(careless.server);
      stage.add(() => careless.server.close());
      const gate = await Gate.open({ application: port, policy, options: { lingerTimeout: 20, headerTimeout: 200 } });
      stage.add(() => gate.close());
      await play(gate, [text]);
      expect(careless.requests.filter(forbidden)).toEqual([]);
      expect(gate.errors).toEqual([]);
    }
  });
});

/** A generator that a printed seed repeats (Lehmer's, modulo 2^31 - 1). */
function randomFrom(seed: number): (below: number) => number {
  let state = (seed % 2_147_483_646) + 1;
  return (below) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % below;
  };
}

function split(text: string, random: (below: number) => number): string[] {
  const cuts = Array.from({ length: 1 + random(12) }, () => random(text.length + 1)).sort((one, other) => one - other);
  return [0, ...cuts].map((from, index) => text.slice(from, cuts[index])).filter((piece) => piece !== "");
}

test("wherever the bytes are cut, the verdicts are the same", async () => {
  const seed = Number(process.env["WARREN_TEST_SEED"] ?? Date.now() % 1_000_000);
  const random = randomFrom(seed);
  const [how] = carelessness;
  if (how === undefined) throw new Error("no careless server");
  const careless = new PermissiveServer(how);
  const port = await listen(careless.server);
  stage.add(() => careless.server.close());
  const verdicts = async (pieces: readonly string[]) => {
    const gate = await Gate.open({ application: port, policy, options: { lingerTimeout: 20 } });
    careless.requests.length = 0;
    const answers = await play(gate, pieces);
    await gate.close();
    return {
      statuses: answers.match(/HTTP\/1\.1 \d+/g),
      requests: careless.requests.map(({ method, path }) => `${method} ${path}`),
      // A refusal can be told before the end of an answer that it follows.
      records: gate.records.map(({ method, path, status, reason }) => `${method} ${path} ${status} ${reason}`).sort(),
    };
  };
  const valid = {
    "a body and its successor": post(sized("12345"), "12345") + get("/shop"),
    "chunks and trailers":
      post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n1;x\r\nd\r\n0\r\nX: y\r\n\r\n") + get("/admin"),
  };
  for (const [name, text] of Object.entries({ ...valid, ...attempts })) {
    const whole = await verdicts([text]);
    for (let round = 0; round < 3; round += 1) {
      const pieces = split(text, random);
      expect({ seed, name, pieces, ...(await verdicts(pieces)) }).toEqual({ seed, name, pieces, ...whole });
    }
  }
}, 180_000);
