/** Who may open a tunnel, and to whom one is opened: right and wrong certificates, on either end, against node:tls as the peer. */
import { once } from "node:events";
import type { ServerHttp2Stream } from "node:http2";
import type { TLSSocket } from "node:tls";
import { beforeAll, describe, expect, it } from "vitest";
import type { Identity } from "../../src/model/identity.ts";
import type { Reason } from "../../src/model/reason.ts";
import type { CredentialSpec } from "../../src/tunnel/engine.ts";
import { closeCode, dialApp, echo, ping, startApp } from "./support/apps.ts";
import { engines } from "./support/engines.ts";
import { identity, MeshPki, type Papers } from "./support/mesh-pki.ts";
import { deliverTo } from "./support/mesh-under-test.ts";
import { NodeUnderTest } from "./support/node-under-test.ts";
import { echoStream, rawClient, rawConnect, rawServer, rawTls } from "./support/raw-peers.ts";

const hour = 3_600_000;
const server = identity("server");
const client = identity("client");

let pki: MeshPki;
let strangers: MeshPki;
beforeAll(async () => {
  pki = await MeshPki.create();
  strangers = await MeshPki.create("strangers");
});

interface WrongPeer {
  readonly title: string;
  readonly reason: Reason;
  /** The peer's papers; `who` is the identity that they would have if they were right. */
  readonly papers: (who: Identity) => Promise<Papers>;
  /** What our own end is told of this peer beforehand. */
  readonly rules?: (papers: Papers, who: Identity) => Promise<Partial<CredentialSpec>>;
}

const wrongPeers: readonly WrongPeer[] = [
  {
    title: "is expired",
    reason: "tls-failed",
    papers: (who) => pki.issue(who, { notBefore: Date.now() - 2 * hour, notAfter: Date.now() - hour }),
  },
  {
    title: "is not valid yet",
    reason: "tls-failed",
    papers: (who) => pki.issue(who, { notBefore: Date.now() + hour, notAfter: Date.now() + 2 * hour }),
  },
  {
    title: "comes from another authority",
    reason: "tls-failed",
    papers: async (who) => ({ ...(await strangers.issue(who)), trust: pki.root.pem }),
  },
  {
    title: "came without its intermediate",
    reason: "tls-failed",
    papers: async (who) => {
      const papers = await pki.issue(who);
      return { ...papers, chain: papers.chain.slice(0, papers.chain.indexOf("-----END CERTIFICATE-----") + 26) };
    },
  },
  {
    title: "may not be used for this end of TLS",
    reason: "tls-failed",
    papers: (who) => pki.issue(who, { purposes: [who === client ? "server" : "client"] }),
  },
  {
    title: "is of another trust domain",
    reason: "identity-mismatch",
    papers: (who) => pki.issue(identity(who === client ? "client" : "server", "elsewhere.example")),
  },
  {
    title: "holds no SPIFFE id",
    reason: "identity-mismatch",
    papers: (who) => pki.issue(who, { names: [{ type: "dns", value: "server.test.svc" }] }),
  },
  {
    title: "holds two SPIFFE ids",
    reason: "identity-mismatch",
    papers: (who) =>
      pki.issue(who, {
        names: [
          { type: "url", value: who },
          { type: "url", value: identity("other") },
        ],
      }),
  },
  {
    title: "is revoked by a CRL",
    reason: "certificate-revoked",
    papers: (who) => pki.issue(who),
    rules: async ({ serial }) => ({ crl: await pki.crl([serial]) }),
  },
  {
    title: "is revoked by a CRL past its next update",
    reason: "certificate-revoked",
    papers: (who) => pki.issue(who),
    rules: async ({ serial }) => ({ crl: await pki.crl(["0badcafe", serial], Date.now() - hour) }),
  },
  {
    title: "is of a denied identity",
    reason: "certificate-revoked",
    papers: (who) => pki.issue(who),
    rules: (_papers, who) => Promise.resolve({ deniedIdentities: [who] }),
  },
];

describe.each(engines)("the $name engine as a server", (kind) => {
  async function start(change: Partial<CredentialSpec> = {}) {
    const app = await startApp(echo);
    const node = new NodeUnderTest(kind);
    const pod = await node.addPod(node.addCredential(await pki.credential(server, change)), server);
    node.decideConnect = (event) => deliverTo(pod, app, event);
    return { app, node, pod };
  }

  it("lets a client of the mesh in and knows it by its certificate", async () => {
    const { app, node, pod } = await start({ crl: await pki.crl(["0badcafe"]) });
    const { session, socket } = await rawClient(pod.hbone, await pki.issue(client));
    const { stream, headers } = await rawConnect(session, `${pod.address}:${app.port}`);
    expect(headers[":status"]).toBe(200);
    expect(socket.authorized).toBe(true);
    stream.end("x");
    expect((await node.closing()).peer).toBe(client);
    expect(node.connects[0]?.peer).toBe(client);
  });

  it.each(wrongPeers)("refuses a client whose certificate $title", async ({ papers, rules, reason }) => {
    const shown = await papers(client);
    const { node, pod } = await start(await rules?.(shown, client));
    const socket = await rawTls(pod.hbone, shown);
    await closeCode(socket);
    expect((await node.tunnelDown()).reason).toBe(reason);
    expect(node.tunnelsUp).toEqual([]);
    expect(node.engine.stats().handshakesFailedTotal).toBe(1);
  });

  it("refuses a client without a certificate and says so in TLS", async () => {
    const { node, pod } = await start();
    const socket = await rawTls(pod.hbone, undefined);
    expect(await closeCode(socket)).toBe("ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED");
    expect((await node.tunnelDown()).reason).toBe("tls-failed");
  });

  it.each([
    ["TLS 1.2", { minVersion: "TLSv1.2", maxVersion: "TLSv1.2" } as const],
    ["a group that is not in its list", { ecdhCurve: "P-521" } as const],
    ["a cipher that is not in its list", { ciphers: "TLS_CHACHA20_POLY1305_SHA256" } as const],
    ["another protocol by ALPN", { ALPNProtocols: ["http/1.1"] } as const],
  ])("refuses a client that only speaks %s", async (_title, tls) => {
    const { node, pod } = await start();
    await expect(rawTls(pod.hbone, await pki.issue(client), { ...tls, minVersion: "TLSv1.2" })).rejects.toThrow();
    expect((await node.tunnelDown()).reason).toBe("tls-failed");
  });

  it("makes a client that comes back with an old session show its certificate again", async () => {
    const { node, pod } = await start();
    const papers = await pki.issue(client);
    const first = await rawTls(pod.hbone, papers);
    const session = first.getSession();
    expect(session?.length).toBeGreaterThan(0);
    const again = await rawTls(pod.hbone, papers, { session });
    expect(again.isSessionReused()).toBe(false);
    again.destroy();
    expect((await node.tunnelDown()).detail).not.toMatch(/session/);
  });

  it("gives up on a client that never begins its handshake", async () => {
    const app = await startApp(echo);
    const node = new NodeUnderTest(kind, { timeouts: { tls: 100 } });
    const pod = await node.addPod(node.addCredential(await pki.credential(server)), server);
    node.decideConnect = (event) => deliverTo(pod, app, event);
    await closeCode(await dialApp(pod.hbone));
    expect((await node.tunnelDown()).reason).toBe("tls-timeout");
  });

  it("gives up on a client that never sends its HTTP/2 preface", async () => {
    const node = new NodeUnderTest(kind, { timeouts: { http2: 100 } });
    const pod = await node.addPod(node.addCredential(await pki.credential(server)), server);
    await closeCode(await rawTls(pod.hbone, await pki.issue(client)));
    expect((await node.tunnelDown()).reason).toBe("h2-failed");
  });

  it("calls a client that speaks no HTTP/2 after TLS what it is", async () => {
    const { node, pod } = await start();
    const socket = await rawTls(pod.hbone, await pki.issue(client));
    socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    await closeCode(socket);
    expect((await node.tunnelDown()).reason).toBe("h2-failed");
  });

  it("refuses bytes that are no TLS at all", async () => {
    const { node, pod } = await start();
    const socket = await dialApp(pod.hbone);
    socket.write("SSH-2.0-whatever\r\n".repeat(20));
    await closeCode(socket);
    expect((await node.tunnelDown()).reason).toBe("tls-failed");
  });
});

describe.each(engines)("the $name engine as a client", (kind) => {
  async function start(
    shown: Papers,
    change: Partial<CredentialSpec> = {},
    expected = [server],
    handle: (stream: ServerHttp2Stream) => void = echoStream,
  ) {
    const peer = await rawServer(shown, handle);
    const node = new NodeUnderTest(kind);
    const pod = await node.addPod(node.addCredential(await pki.credential(client, change)), client);
    node.decideFlow = () => ({
      kind: "carry",
      label: 1,
      targets: [{ group: node.group(pod, peer, ...expected), authority: "10.0.0.1:80", weight: 1 }],
      baggage: "",
      forwardedHost: "",
    });
    return { node, pod, peer };
  }

  it("opens a tunnel to a peer that proves one of the expected identities", async () => {
    const { node, pod } = await start(await pki.issue(server), {}, [identity("other"), server]);
    expect(await ping(await dialApp(pod.outbound))).toBe("ping");
    expect(node.tunnelsUp[0]).toMatchObject({ direction: "outbound", peer: server, pod: pod.handle });
  });

  it.each(wrongPeers)("sends nothing to a peer whose certificate $title", async ({ papers, rules, reason }) => {
    const shown = await papers(server);
    const streams: unknown[] = [];
    const { node, pod } = await start(shown, await rules?.(shown, server), [server], (stream) => {
      streams.push(stream);
    });
    expect(await closeCode(await dialApp(pod.outbound))).toBe("ECONNRESET");
    expect((await node.closing()).reason).toBe(reason);
    expect(streams).toEqual([]);
  });

  it("sends nothing to a peer of the mesh that is not the expected one", async () => {
    const { node, pod } = await start(await pki.issue(identity("impostor")));
    expect(await closeCode(await dialApp(pod.outbound))).toBe("ECONNRESET");
    expect(await node.closing()).toMatchObject({ reason: "identity-mismatch", bytesSent: 0 });
  });

  it("accepts a peer of an alias of its trust domain", async () => {
    const other = identity("server", "alias.example");
    const { pod } = await start(await pki.issue(other), { trustDomains: ["cluster.local", "alias.example"] }, [other]);
    expect(await ping(await dialApp(pod.outbound))).toBe("ping");
  });

  it("sends no server name, offers h2 alone, and sends its intermediate", async () => {
    // The server trusts the root alone, so it could not verify a bare leaf.
    const { pod, peer } = await start(await pki.issue(server));
    const secured = once(peer.server, "secureConnection") as Promise<[TLSSocket & { servername: unknown }]>;
    await ping(await dialApp(pod.outbound));
    const [socket] = await secured;
    expect(socket.servername).toBe(false);
    expect(socket.alpnProtocol).toBe("h2");
    expect(socket.getPeerX509Certificate()?.subjectAltName).toBe(`URI:${client}`);
  });

  it("refuses a group that expects nobody", async () => {
    const node = new NodeUnderTest(kind);
    const pod = await node.addPod(node.addCredential(await pki.credential(client)), client);
    expect(() => node.group(pod, { address: "127.0.0.1", port: 15_008 })).toThrow(
      expect.objectContaining({ code: "MESH_NO_EXPECTED_IDENTITY" }),
    );
  });
});

describe.each(engines)("a credential of the $name engine", (kind) => {
  it("holds handshakes until its first certificate", async () => {
    const app = await startApp(echo);
    const node = new NodeUnderTest(kind);
    const credential = node.engine.addCredential(server);
    const pod = await node.addPod(credential, server);
    node.decideConnect = (event) => deliverTo(pod, app, event);
    const connecting = rawClient(pod.hbone, await pki.issue(client));
    // The connection is there and waits: a second one is accepted behind it.
    await closeCode((await dialApp(pod.hbone)).destroy());
    expect(node.tunnelsUp).toEqual([]);
    node.engine.setCredential(credential, await pki.credential(server));
    const { session } = await connecting;
    expect((await rawConnect(session, `${pod.address}:1`)).headers[":status"]).toBe(200);
  });

  it("lets an outbound flow wait for it", async () => {
    const peer = await rawServer(await pki.issue(server), echoStream);
    const node = new NodeUnderTest(kind);
    const credential = node.engine.addCredential(client);
    const pod = await node.addPod(credential, client);
    node.decideFlow = () => {
      queueMicrotask(() => void pki.credential(client).then((spec) => node.engine.setCredential(credential, spec)));
      const group = node.group(pod, peer, server);
      return {
        kind: "carry",
        label: 1,
        targets: [{ group, authority: "10.0.0.1:80", weight: 1 }],
        baggage: "",
        forwardedHost: "",
      };
    };
    expect(await ping(await dialApp(pod.outbound))).toBe("ping");
  });

  it("holds them no longer than it was told", async () => {
    const node = new NodeUnderTest(kind, { timeouts: { credential: 100 } });
    const pod = await node.addPod(node.engine.addCredential(server), server);
    expect(await closeCode(await dialApp(pod.hbone))).toBe("ECONNRESET");
    expect((await node.tunnelDown()).reason).toBe("no-certificate");
  });

  it.each([
    ["for another identity", async () => ({ ...(await pki.credential(client)), identity: server })],
    ["with the key of another certificate", async () => ({ privateKey: (await pki.issue(server)).key })],
    ["without a trust bundle", () => Promise.resolve({ trustBundle: "" })],
    [
      "with a CRL that is none",
      () => Promise.resolve({ crl: "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n" }),
    ],
  ])("is not replaced by one %s, and the old one stays in force", async (_title, change) => {
    const app = await startApp(echo);
    const node = new NodeUnderTest(kind);
    const good = await pki.credential(server);
    const pod = await node.addPod(node.addCredential(good), server);
    node.decideConnect = (event) => deliverTo(pod, app, event);
    const bad = { ...good, ...(await change()) };
    expect(() => node.engine.setCredential(pod.credential, bad)).toThrow(
      expect.objectContaining({ code: expect.stringMatching(/^MESH_/) }),
    );
    const { session } = await rawClient(pod.hbone, await pki.issue(client));
    expect((await rawConnect(session, `${pod.address}:1`)).headers[":status"]).toBe(200);
  });

  it("is replaced without touching open tunnels, and new ones show the new certificate", async () => {
    const app = await startApp(echo);
    const node = new NodeUnderTest(kind);
    const pod = await node.addPod(node.addCredential(await pki.credential(server)), server);
    node.decideConnect = (event) => deliverTo(pod, app, event);
    const papers = await pki.issue(client);
    const before = await rawClient(pod.hbone, papers);
    const { stream } = await rawConnect(before.session, `${pod.address}:1`);
    node.engine.setCredential(pod.credential, await pki.credential(server));
    const after = await rawClient(pod.hbone, papers);
    const serials = [before, after].map(({ socket }) => socket.getPeerCertificate().serialNumber);
    expect(serials[0]).not.toBe(serials[1]);
    stream.end("still open");
    const [data] = (await once(stream, "data")) as [Buffer];
    expect(data.toString()).toBe("still open");
    expect(node.tunnelsDown).toEqual([]);
  });

  it.each([
    ["a CRL that names its certificate", async ({ serial }: Papers) => ({ crl: await pki.crl([serial]) })],
    ["a denial of its identity", () => Promise.resolve({ deniedIdentities: [client] })],
  ])("cuts open tunnels of a peer on %s, and no others", async (_title, change) => {
    const app = await startApp(echo);
    const node = new NodeUnderTest(kind);
    const good = await pki.credential(server);
    const pod = await node.addPod(node.addCredential(good), server);
    node.decideConnect = (event) => deliverTo(pod, app, event);
    const bad = await pki.issue(client);
    const revoked = await rawClient(pod.hbone, bad);
    const other = await rawClient(pod.hbone, await pki.issue(identity("other")));
    await rawConnect(revoked.session, `${pod.address}:1`);
    await rawConnect(other.session, `${pod.address}:1`);
    const gone = once(revoked.session, "close");
    node.engine.setCredential(pod.credential, { ...good, ...(await change(bad)) });
    await gone;
    expect(await node.closing()).toMatchObject({ reason: "certificate-revoked", peer: client });
    expect((await node.tunnelDown()).reason).toBe("certificate-revoked");
    expect(node.tunnels().map(({ peer }) => peer)).toEqual([identity("other")]);
    expect(node.rows()).toHaveLength(1);
  });
});
