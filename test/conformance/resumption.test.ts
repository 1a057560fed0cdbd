/**
 * Sessions that may be resumed (`tls.resumption`): a peer that comes back shows no certificate again, so whatever could have made an
 * engine refuse it since must make the old session worthless. Against node:tls as the peer, which says whether a session was reused.
 */
import { once } from "node:events";
import { connect } from "node:http2";
import type { TLSSocket } from "node:tls";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import type { CredentialSpec } from "../../src/tunnel/engine.ts";
import { dialApp, ping } from "./support/apps.ts";
import { type EngineKind, engines } from "./support/engines.ts";
import { carry } from "./support/flows.ts";
import { identity, MeshPki, type Papers } from "./support/mesh-pki.ts";
import { NodeUnderTest, type PodUnderTest } from "./support/node-under-test.ts";
import { echoStream, rawServer, rawTls } from "./support/raw-peers.ts";

const server = identity("server");
const client = identity("client");
const tls = { resumption: true };

let pki: MeshPki;
beforeAll(async () => {
  pki = await MeshPki.create();
});

/** What an engine learns of a peer between two of its connections, so that the second must be judged anew. */
const refusals: readonly (readonly [string, (peer: Papers, who: string) => Promise<Partial<CredentialSpec>>])[] = [
  ["a CRL that names its certificate", async ({ serial }) => ({ crl: await pki.crl([serial]) })],
  ["a denial of its identity", async (_peer, who) => ({ deniedIdentities: [who as CredentialSpec["identity"]] })],
];

describe.each(engines)("the $name engine as a server whose sessions may be resumed", (kind: EngineKind) => {
  async function start() {
    const node = new NodeUnderTest(kind, { tls });
    const credential = await pki.credential(server);
    const pod = await node.addPod(node.addCredential(credential), server);
    const papers = await pki.issue(client);
    return { node, pod, credential, papers };
  }

  /** The ticket that comes with a connection. */
  async function visit(pod: PodUnderTest, papers: Papers): Promise<Buffer> {
    const socket = await rawTls(pod.hbone, papers);
    const [session] = (await once(socket, "session")) as [Buffer];
    socket.destroy();
    return session;
  }

  const resumes = kind.name === "native";

  it(`${resumes ? "resumes a session" : "resumes none"}, and knows its peer by its certificate`, async () => {
    const { node, pod, papers } = await start();
    const again = await rawTls(pod.hbone, papers, { session: await visit(pod, papers) });
    expect(again.isSessionReused()).toBe(resumes);
    const session = connect("https://peer", { createConnection: () => again });
    onTestFinished(() => session.destroy());
    await expect.poll(() => node.tunnels().map(({ peer }) => peer)).toEqual([client]);
  });

  it.each(refusals)("refuses who comes back with a session after %s", async (_title, change) => {
    const { node, pod, papers, credential } = await start();
    const session = await visit(pod, papers);
    node.engine.setCredential(pod.credential, { ...credential, ...(await change(papers, client)) });
    // With TLS 1.3 a client may believe that it is in before it hears that it is not.
    const again = await rawTls(pod.hbone, papers, { session }).catch(() => undefined);
    expect(again?.isSessionReused() ?? false).toBe(false);
    await expect.poll(() => node.tunnelsDown.map(({ reason }) => reason)).toContain("certificate-revoked");
  });

  it.each(refusals)("ends a tunnel that was resumed after %s", async (_title, change) => {
    const { node, pod, papers, credential } = await start();
    const again = await rawTls(pod.hbone, papers, { session: await visit(pod, papers) });
    expect(again.isSessionReused()).toBe(resumes);
    const session = connect("https://peer", { createConnection: () => again });
    session.on("error", () => {});
    onTestFinished(() => session.destroy());
    await expect.poll(() => node.tunnels()).toHaveLength(1);
    node.engine.setCredential(pod.credential, { ...credential, ...(await change(papers, client)) });
    expect(await node.tunnelDown(2)).toMatchObject({ reason: "certificate-revoked", peer: client });
  });

  it("takes no session of before its certificate was renewed", async () => {
    const { node, pod, papers } = await start();
    const session = await visit(pod, papers);
    node.engine.setCredential(pod.credential, await pki.credential(server));
    expect((await rawTls(pod.hbone, papers, { session })).isSessionReused()).toBe(false);
  });
});

describe.each(engines)("the $name engine as a client that may resume sessions", (kind: EngineKind) => {
  const resumes = kind.name === "native";

  async function start() {
    const peerPapers = await pki.issue(server);
    const reused: boolean[] = [];
    const peer = await rawServer(peerPapers, echoStream);
    peer.server.on("secureConnection", (socket: TLSSocket) => reused.push(socket.isSessionReused()));
    const node = new NodeUnderTest(kind, { tls, timeouts: { tunnelIdle: 20, peerBackoff: 1, peerBackoffMax: 1 } });
    const credential = await pki.credential(client);
    const pod = await node.addPod(node.addCredential(credential), client);
    node.decideFlow = () => carry(node.group(pod, peer, server));
    /** A flow over a tunnel of its own. */
    const visit = async () => {
      const socket = await dialApp(pod.outbound);
      const answer = await ping(socket).catch(() => "refused");
      socket.end();
      await expect.poll(() => node.tunnels()).toEqual([]);
      return answer;
    };
    return { node, pod, peer, peerPapers, credential, visit, reused };
  }

  it(resumes ? "resumes the session that its peer gave it" : "begins each tunnel anew", async () => {
    const { visit, reused } = await start();
    expect(await visit()).toBe("ping");
    expect(await visit()).toBe("ping");
    expect(reused).toEqual([false, resumes]);
  });

  it.each(refusals)("sends nothing to a peer that it knows a session of after %s", async (_title, change) => {
    const { node, pod, peerPapers, credential, visit, reused } = await start();
    expect(await visit()).toBe("ping");
    node.engine.setCredential(pod.credential, { ...credential, ...(await change(peerPapers, server)) });
    expect(await visit()).toBe("refused");
    await expect.poll(() => node.closed.at(-1)?.reason).toBe("certificate-revoked");
    expect(reused).not.toContain(true);
  });

  it("begins anew after its own certificate was renewed, and when it expects somebody else", async () => {
    const { node, pod, peer, visit, reused } = await start();
    expect(await visit()).toBe("ping");
    node.engine.setCredential(pod.credential, await pki.credential(client));
    expect(await visit()).toBe("ping");
    expect(reused).toEqual([false, false]);
    node.decideFlow = () => carry(node.group(pod, peer, identity("other")));
    expect(await visit()).toBe("refused");
    await expect.poll(() => node.closed.at(-1)?.reason).toBe("identity-mismatch");
    expect(reused).not.toContain(true);
  });
});
