/** What an engine answers on 15008: authorities, methods, malformed requests, headers and the HTTP/2 settings behind them. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { constants } from "node:http2";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, it } from "vitest";
import type { RefuseDecision } from "../../src/tunnel/engine.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { dialApp, echo, startApp } from "./support/apps.ts";
import { type EngineKind, engines } from "./support/engines.ts";
import { addon, freshAddress, netns, ports } from "./support/loopback.ts";
import { identity, MeshPki } from "./support/mesh-pki.ts";
import { deliverTo } from "./support/mesh-under-test.ts";
import { NodeUnderTest } from "./support/node-under-test.ts";
import { engineOptions, type OptionOverrides } from "./support/options.ts";
import { flag, frameType, RawFrames } from "./support/raw-frames.ts";
import { rawClient, rawConnect, rawRequest, rawTls } from "./support/raw-peers.ts";

const run = promisify(execFile);
const server = identity("server");
const client = identity("client");

let pki: MeshPki;
beforeAll(async () => {
  pki = await MeshPki.create();
});

describe.each(engines)("the $name engine on 15008", (kind: EngineKind) => {
  async function start(overrides: OptionOverrides = {}) {
    const app = await startApp(echo);
    const node = new NodeUnderTest(kind, overrides);
    const pod = await node.addPod(node.addCredential(await pki.credential(server)), server);
    node.decideConnect = (event) => deliverTo(pod, app, event);
    const papers = await pki.issue(client);
    return { app, node, pod, papers };
  }

  it.each([
    "nonsense",
    "10.0.0.1",
    "10.0.0.1:0",
    "10.0.0.1:65536",
    "10.0.0.1:80:80",
    "010.0.0.1:80",
    "10.0.0.256:80",
    "[127.0.0.1]:80",
    "[fe80::1%25eth0]:80",
    "[::1:80",
    "::1:80",
    "-host-:80",
    ":80",
  ])("answers a CONNECT to %o with 400 and the reason", async (authority) => {
    const { node, pod, papers } = await start();
    const { session } = await rawClient(pod.hbone, papers);
    const { headers } = await rawConnect(session, authority);
    expect(headers).toMatchObject({ ":status": 400, "x-warren-reason": "bad-authority" });
    expect(await node.closing()).toMatchObject({
      role: "inbound-hbone",
      reason: "bad-authority",
      peer: client,
      label: 0,
    });
    expect(node.connects).toEqual([]);
  });

  it("answers a CONNECT to another pod's address with 400, until it is this pod's", async () => {
    const { node, pod, papers } = await start();
    const { session } = await rawClient(pod.hbone, papers);
    const elsewhere = await rawConnect(session, "10.1.2.3:80");
    expect(elsewhere.headers).toMatchObject({ ":status": 400, "x-warren-reason": "not-this-pod" });
    node.engine.updatePod(pod.handle, { addresses: [pod.address, "10.1.2.3", "fd00:0:0::9"] });
    expect((await rawConnect(session, "10.1.2.3:80")).headers[":status"]).toBe(200);
    expect((await rawConnect(session, "[fd00::0:9]:80")).headers[":status"]).toBe(200);
    expect((await rawConnect(session, `[::ffff:${pod.address}]:80`)).headers[":status"]).toBe(200);
  });

  it("leaves a host name to TypeScript to judge", async () => {
    const { node, pod, papers } = await start();
    const { session } = await rawClient(pod.hbone, papers);
    expect((await rawConnect(session, "web.test.svc.cluster.local:80")).headers[":status"]).toBe(200);
    expect(node.connects[0]).toMatchObject({
      authority: "web.test.svc.cluster.local:80",
      peer: client,
      pod: pod.handle,
    });
  });

  it.each(["GET", "POST", "OPTIONS"])("answers %s with 400", async (method) => {
    const { node, pod, papers } = await start();
    const { session } = await rawClient(pod.hbone, papers);
    const { headers, stream } = await rawRequest(session, { ":method": method, ":path": "/" });
    expect(headers).toMatchObject({ ":status": 400, "x-warren-reason": "not-connect" });
    stream.resume();
    await once(stream, "end");
    expect((await node.closing()).reason).toBe("not-connect");
  });

  it("answers nghttp's GET with 400 too", async () => {
    const { pod, papers } = await start();
    const folder = await temporaryFolder();
    const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
    await writeFile(cert, papers.chain);
    await writeFile(key, papers.key);
    const url = `https://${pod.address}:${ports.hbone}/`;
    const { stdout } = await run("nghttp", ["-v", "--cert", cert, "--key", key, url]);
    expect(stdout).toMatch(/:status: 400/);
    expect(stdout).toMatch(/x-warren-reason: not-connect/);
  });

  it.each([
    [
      "a :path",
      [
        [":method", "CONNECT"],
        [":authority", "AUTHORITY"],
        [":path", "/"],
        [":scheme", "https"],
      ],
    ],
    ["no :authority", [[":method", "CONNECT"]]],
    [
      "two authorities",
      [
        [":method", "CONNECT"],
        [":authority", "AUTHORITY"],
        [":authority", "AUTHORITY"],
      ],
    ],
    [
      "a :protocol nobody enabled",
      [
        [":method", "CONNECT"],
        [":authority", "AUTHORITY"],
        [":path", "/"],
        [":scheme", "https"],
        [":protocol", "websocket"],
      ],
    ],
    [
      "an upper-case field name",
      [
        [":method", "CONNECT"],
        [":authority", "AUTHORITY"],
        ["Baggage", "x"],
      ],
    ],
    [
      "a connection field",
      [
        [":method", "CONNECT"],
        [":authority", "AUTHORITY"],
        ["connection", "close"],
      ],
    ],
  ] as [string, [string, string][]][])(
    "treats a CONNECT with %s as malformed, and the tunnel lives on",
    async (_title, fields) => {
      const { node, pod, papers } = await start();
      const frames = new RawFrames(await rawTls(pod.hbone, papers));
      const authority = `${pod.address}:80`;
      frames.sendHeaders(
        1,
        fields.map(([name, value]) => [name, value.replace("AUTHORITY", authority)]),
      );
      // RFC 9113 §8.1.1: a malformed request is a stream error; an answer of 400 says the same.
      await expect
        .poll(() => frames.of(frameType.rstStream, 1).length + frames.of(frameType.headers, 1).length, { interval: 5 })
        .toBeGreaterThan(0);
      for (const { payload } of frames.of(frameType.rstStream, 1)) {
        expect(payload.readUInt32BE()).toBe(constants.NGHTTP2_PROTOCOL_ERROR);
      }
      // 0x08 and 0x0c are HPACK's indexed :status 200 and 400 (RFC 7541, appendix A), with the high bit set.
      for (const { payload } of frames.of(frameType.headers, 1)) expect(payload[0]).toBe(0x8c);
      frames.sendHeaders(3, [
        [":method", "CONNECT"],
        [":authority", authority],
      ]);
      expect((await frames.first(frameType.headers, 3)).payload[0]).toBe(0x88);
      expect(node.connects).toHaveLength(1);
    },
  );

  it("lets a tunnel that carries nothing go, whatever malformed requests came over it", async () => {
    const { node, pod, papers } = await start({ timeouts: { tunnelIdle: 100 } });
    const frames = new RawFrames(await rawTls(pod.hbone, papers));
    // Open until the malformed one is over: the tunnel is idle only then.
    frames.sendHeaders(1, [
      [":method", "CONNECT"],
      [":authority", `${pod.address}:80`],
    ]);
    await frames.first(frameType.headers, 1);
    frames.sendHeaders(3, [[":method", "CONNECT"]]);
    await frames.first(frameType.rstStream, 3);
    expect(node.tunnelsDown).toEqual([]);
    frames.send(frameType.rstStream, 0, 1, Buffer.from([0, 0, 0, constants.NGHTTP2_CANCEL]));
    expect((await node.tunnelDown()).reason).toBe("ok");
  });

  it.each([
    ["policy-denied", 401],
    ["strict-plaintext", 401],
    ["certificate-revoked", 401],
    ["not-this-pod", 400],
    ["no-endpoint", 503],
    ["draining", 503],
  ] as const)("answers a refusal for %s with %i", async (reason, status) => {
    const { node, pod, papers } = await start();
    const refusal: RefuseDecision = { kind: "refuse", label: 3, reason };
    node.decideConnect = () => refusal;
    const { session } = await rawClient(pod.hbone, papers);
    const { headers, stream } = await rawConnect(session, `${pod.address}:80`);
    expect(headers).toMatchObject({ ":status": status, "x-warren-reason": reason });
    stream.resume();
    await once(stream, "end");
    expect(await node.closing()).toMatchObject({ reason, label: 3, connectedMs: -1, target: undefined });
  });

  it("answers 503 when the application refuses the connection", async () => {
    const { app, node, pod, papers } = await start();
    app.server.close();
    const { session } = await rawClient(pod.hbone, papers);
    const { headers } = await rawConnect(session, `${pod.address}:80`);
    expect(headers).toMatchObject({ ":status": 503, "x-warren-reason": "connect-failed" });
    expect(await node.closing()).toMatchObject({
      reason: "connect-failed",
      detail: expect.stringContaining("ECONNREFUSED"),
    });
  });

  it("answers nothing before the application's connection is up, and 503 when that takes too long", async () => {
    const { node, pod, papers } = await start({ timeouts: { connect: 300 } });
    // A listener whose queue is full drops SYNs (tcp(7), listen(2)), as a dead host would.
    const address = freshAddress();
    await addon.listen(netns, { family: 4, port: 7000, address, backlog: 0, transparent: false, reusePort: false });
    await dialApp({ address, port: 7000 });
    node.decideConnect = (event) => deliverTo(pod, { address, port: 7000 }, event);
    const { session } = await rawClient(pod.hbone, papers);
    const { headers } = await rawConnect(session, `${pod.address}:80`);
    expect(headers).toMatchObject({ ":status": 503, "x-warren-reason": "connect-timeout" });
  });

  it("answers 503 when nobody decides", async () => {
    const { node, pod, papers } = await start({ timeouts: { decision: 50 } });
    node.decideConnect = () => undefined;
    const { session } = await rawClient(pod.hbone, papers);
    const { headers } = await rawConnect(session, `${pod.address}:80`);
    expect(headers).toMatchObject({ ":status": 503, "x-warren-reason": "internal" });
  });

  it("tries the next address when one refuses, before anything has moved", async () => {
    const { app, node, pod, papers } = await start();
    const nobody = { address: freshAddress(), port: 9 };
    node.decideConnect = (event) => ({
      ...deliverTo(pod, app, event),
      targets: [
        { destination: nobody, weight: 1 },
        { destination: app, weight: 0 },
      ],
    });
    const { session } = await rawClient(pod.hbone, papers);
    const { headers, stream } = await rawConnect(session, `${pod.address}:80`);
    expect(headers[":status"]).toBe(200);
    expect(node.engine.stats().retriesTotal).toBe(1);
    stream.end();
    expect((await node.closing()).target).toEqual({ address: app.address, port: app.port });
  });

  it("passes on what the peer says of itself, and drops what is not text", async () => {
    const { node, pod, papers } = await start();
    const { session } = await rawClient(pod.hbone, papers);
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const { headers } = await rawConnect(session, `${pod.address}:80`, {
      baggage: "k8s.namespace.name=test,service.name=web",
      forwarded: 'for="10.0.0.9:1234";host=web.test.svc',
      traceparent,
    });
    expect(headers["baggage"]).toBe("service.name=callee");
    await rawConnect(session, `${pod.address}:80`, { baggage: "x".repeat(9_000), traceparent: `00-${"0".repeat(52)}` });
    await rawConnect(session, `${pod.address}:80`);
    expect(node.connects).toMatchObject([
      {
        baggage: "k8s.namespace.name=test,service.name=web",
        forwarded: 'for="10.0.0.9:1234";host=web.test.svc',
        traceparent,
      },
      { baggage: "", traceparent: "" },
      { baggage: "", forwarded: "", traceparent: "" },
    ]);
  });

  it("takes a CONNECT that ends with its headers as a client that says nothing", async () => {
    const { app, node, pod, papers } = await start();
    const { session } = await rawClient(pod.hbone, papers);
    const stream = session.request({ ":method": "CONNECT", ":authority": `${pod.address}:80` }, { endStream: true });
    stream.resume();
    await once(stream, "end");
    expect(app.connections).toHaveLength(1);
    expect(await node.closing()).toMatchObject({ reason: "ok", bytesSent: 0, bytesReceived: 0 });
  });

  it("announces its windows and limits", async () => {
    const { pod, papers } = await start();
    const { limits } = engineOptions();
    const { session } = await rawClient(pod.hbone, papers);
    expect(session.remoteSettings).toMatchObject({
      initialWindowSize: limits.streamWindow,
      maxFrameSize: limits.frameSize,
      maxConcurrentStreams: limits.streamsPerInboundTunnel,
      maxHeaderListSize: limits.headerListSize,
    });
    const frames = new RawFrames(await rawTls(pod.hbone, papers));
    const update = await frames.first(frameType.windowUpdate, 0);
    expect(65_535 + update.payload.readUInt32BE()).toBe(limits.connectionWindow);
  });

  it("sends no more than the client's window lets it, and the rest when it opens", async () => {
    const { pod, papers } = await start();
    const frames = new RawFrames(await rawTls(pod.hbone, papers), { initialWindow: 10 });
    frames.sendHeaders(1, [
      [":method", "CONNECT"],
      [":authority", `${pod.address}:80`],
    ]);
    await frames.first(frameType.headers, 1);
    frames.send(frameType.data, flag.endStream, 1, Buffer.from("0123456789and ten more"));
    const echoed = () => Buffer.concat(frames.of(frameType.data, 1).map(({ payload }) => payload)).toString();
    await expect.poll(echoed, { interval: 5 }).toBe("0123456789");
    // A PING's answer comes after everything that was ready to be sent.
    frames.send(frameType.ping, 0, 0, Buffer.from("whatever"));
    expect((await frames.first(frameType.ping)).payload.toString()).toBe("whatever");
    expect(echoed()).toBe("0123456789");
    const more = Buffer.alloc(4);
    more.writeUInt32BE(100);
    frames.send(frameType.windowUpdate, 0, 1, more);
    await expect.poll(echoed, { interval: 5 }).toBe("0123456789and ten more");
  });

  it("opens the windows again for what the application has taken", async () => {
    const { pod, papers } = await start();
    const { limits } = engineOptions();
    const { session } = await rawClient(pod.hbone, papers);
    const { stream } = await rawConnect(session, `${pod.address}:80`);
    let echoed = 0;
    stream.on("data", (data: Buffer) => {
      echoed += data.length;
    });
    // More than either window holds.
    const block = Buffer.alloc(2 ** 20);
    const blocks = limits.connectionWindow / block.length + 4;
    for (let i = 0; i < blocks; i += 1) if (!stream.write(block)) await once(stream, "drain");
    stream.end();
    await once(stream, "end");
    expect(echoed).toBe(blocks * block.length);
  });

  it("never serves more streams at once than it announced", async () => {
    const { node, pod, papers } = await start({ limits: { streamsPerInboundTunnel: 2 } });
    const { session } = await rawClient(pod.hbone, papers);
    const [first] = await Promise.all([1, 2].map(() => rawConnect(session, `${pod.address}:80`)));
    // The client obeys the limit and holds this one back until the first has ended.
    const third = rawConnect(session, `${pod.address}:80`);
    await new Promise((resolve) => session.ping(resolve));
    expect(node.connects).toHaveLength(2);
    first?.stream.end();
    expect((await third).headers[":status"]).toBe(200);
    expect(node.engine.stats().flowsOpen).toBe(2);
  });

  it("refuses the stream of a client that ignores the limit", async () => {
    const { node, pod, papers } = await start({ limits: { streamsPerInboundTunnel: 2 } });
    const frames = new RawFrames(await rawTls(pod.hbone, papers));
    await frames.first(frameType.settings);
    for (const stream of [1, 3, 5]) {
      frames.sendHeaders(stream, [
        [":method", "CONNECT"],
        [":authority", `${pod.address}:80`],
      ]);
    }
    // RFC 9113 §5.1.2 asks for a stream error; nghttp2 ends the whole connection of such a client.
    await expect
      .poll(() => frames.of(frameType.rstStream, 5).length + frames.of(frameType.goaway).length, { interval: 5 })
      .toBeGreaterThan(0);
    expect(node.connects.length).toBeLessThanOrEqual(2);
  });

  it("shows openssl TLS 1.3, AES-256, h2 and its chain without the root", async () => {
    const { pod, papers } = await start();
    const folder = await temporaryFolder();
    const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
    await writeFile(cert, papers.chain);
    await writeFile(key, papers.key);
    const arguments_ = ["s_client", "-connect", `${pod.address}:${ports.hbone}`, "-cert", cert, "-key", key];
    const asked = run("openssl", [
      ...arguments_,
      "-cert_chain",
      cert,
      "-alpn",
      "h2",
      "-showcerts",
      "-noservername",
      "-ign_eof",
    ]);
    let said = "";
    asked.child.stdout?.on("data", (text: string) => {
      said += text;
    });
    // Its report on the session ends with this line; what the server sends afterwards is for others to read.
    await expect.poll(() => said, { interval: 5 }).toContain("Verify return code");
    asked.child.kill();
    const { stdout } = await asked.catch((error: { stdout: string }) => error);
    expect(stdout).toMatch(/New, TLSv1\.3, Cipher is TLS_AES_256_GCM_SHA384/);
    expect(stdout).toMatch(/ALPN protocol: h2/);
    expect(stdout.match(/-----BEGIN CERTIFICATE-----/g)).toHaveLength(2);
    expect(stdout).toMatch(/Acceptable client certificate CA names\nCN = mesh root/);
  });
});
