import { once } from "node:events";
import { type ClientHttp2Session, connect, createServer, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import { type ConnectResult, openConnect, type RequestTunnel } from "../../../src/tunnel/typescript/connect-stream.ts";

/** A tunnel as far as a request knows it, over cleartext HTTP/2. */
class BareTunnel implements RequestTunnel {
  readonly session: ClientHttp2Session;
  ending: RequestTunnel["ending"];
  takesStreams = true;
  released = 0;

  constructor(session: ClientHttp2Session) {
    this.session = session;
  }

  drain(): void {
    this.takesStreams = false;
  }

  releaseStream(): void {
    this.released += 1;
  }
}

async function start(handle: (stream: ServerHttp2Stream) => void): Promise<BareTunnel> {
  const server = createServer();
  server.on("stream", (stream) => {
    stream.on("error", () => {});
    handle(stream);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  onTestFinished(() => {
    session.destroy();
    server.close();
  });
  await once(session, "remoteSettings");
  return new BareTunnel(session);
}

function ask(tunnel: RequestTunnel): Promise<ConnectResult> {
  const request = {
    authority: "10.0.0.1:80",
    source: { address: "10.0.0.2", port: 1 },
    forwardedHost: "",
    baggage: "",
    traceparent: "",
  };
  return new Promise((resolve) => {
    openConnect(tunnel, request, 2_000, resolve);
  });
}

describe("a request for a flow", () => {
  it("keeps its slot while it is open and gives it back once", async () => {
    const tunnel = await start((stream) => stream.respond({ ":status": 200 }));
    const result = await ask(tunnel);
    expect(result.kind).toBe("open");
    expect(tunnel.released).toBe(0);
    if (result.kind === "open") result.leg.reset();
    await expect.poll(() => tunnel.released, { interval: 5 }).toBe(1);
  });

  it("drains a tunnel that has no stream ids left, and asks to be made again", async () => {
    const tunnel = await start((stream) => stream.respond({ ":status": 200 }));
    // Documented, and missing in @types/node.
    (tunnel.session as ClientHttp2Session & { setNextStreamID(id: number): void }).setNextStreamID(2 ** 31 - 1);
    expect((await ask(tunnel)).kind).toBe("open");
    expect(tunnel.takesStreams).toBe(true);
    expect(await ask(tunnel)).toMatchObject({ kind: "failed", retry: "again" });
    expect(tunnel.takesStreams).toBe(false);
    expect(tunnel.released).toBe(1);
  });

  it("is given up without an answer to its caller", async () => {
    const codes: (number | undefined)[] = [];
    const tunnel = await start((stream) => stream.on("close", () => codes.push(stream.rstCode)));
    const request = {
      authority: "a:1",
      source: { address: "10.0.0.2", port: 1 },
      forwardedHost: "",
      baggage: "",
      traceparent: "",
    };
    const giveUp = openConnect(tunnel, request, 2_000, () => expect.unreachable());
    await new Promise((resolve) => tunnel.session.ping(resolve));
    giveUp();
    await expect.poll(() => [tunnel.released, codes], { interval: 5 }).toEqual([1, [8]]);
  });
});
