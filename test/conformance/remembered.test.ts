/** Decisions that an engine repeats alone, and the epochs that end them. */
import { beforeAll, describe, expect, it } from "vitest";
import type { Decision, Remember, RememberField } from "../../src/tunnel/engine.ts";
import { type App, closeCode, dialApp, echo, ping, startApp } from "./support/apps.ts";
import { type EngineKind, engines } from "./support/engines.ts";
import { carry, dialTo } from "./support/flows.ts";
import { identity, MeshPki } from "./support/mesh-pki.ts";
import { NodeUnderTest } from "./support/node-under-test.ts";
import type { OptionOverrides } from "./support/options.ts";
import { echoStream, rawClient, rawConnect, rawServer } from "./support/raw-peers.ts";

const server = identity("server");
const client = identity("client");

let pki: MeshPki;
beforeAll(async () => {
  pki = await MeshPki.create();
});

function remember(decision: Decision, epoch: number, ...fields: RememberField[]): Decision {
  const kept: Remember = { fields, epoch };
  return { ...decision, remember: kept };
}

describe.each(engines)("a decision remembered by the $name engine", (kind: EngineKind) => {
  async function start(overrides: OptionOverrides = {}) {
    const app: App = await startApp(echo);
    const node = new NodeUnderTest(kind, overrides);
    const pod = await node.addPod(node.addCredential(await pki.credential(server)), server, { destination: app });
    const dial = dialTo(pod.handle, app);
    return { app, node, pod, dial };
  }

  it("is repeated without asking, and the record carries its label", async () => {
    const { node, pod, dial } = await start();
    node.decideFlow = () => remember(dial, 1, "destination");
    for (let i = 0; i < 3; i += 1) {
      const socket = await dialApp(pod.outbound);
      await ping(socket);
      socket.end();
      await closeCode(socket);
    }
    await node.closing(3);
    expect(node.arrived).toHaveLength(1);
    expect(node.closed.map(({ label, reason }) => [label, reason])).toEqual([
      [2, "ok"],
      [2, "ok"],
      [2, "ok"],
    ]);
    expect(node.engine.stats()).toMatchObject({ rememberedDecisions: 1, rememberedHitsTotal: 2, decisionsTotal: 1 });
  });

  it("counts for its pod and role alone", async () => {
    const { app, node, pod, dial } = await start();
    const other = await node.addPod(pod.credential, server, { destination: app });
    node.decideFlow = () => remember(dial, 1);
    await ping(await dialApp(pod.outbound));
    await ping(await dialApp(pod.inbound));
    await ping(await dialApp(other.outbound));
    await ping(await dialApp(pod.outbound));
    expect(node.arrived.map(({ role, pod }) => [role, pod])).toEqual([
      ["outbound", pod.handle],
      ["inbound-plaintext", pod.handle],
      ["outbound", other.handle],
    ]);
  });

  it("counts for the values of its fields alone", async () => {
    const { app, node, pod } = await start();
    node.decideConnect = () => remember(dialTo(pod.handle, app), 1, "authority", "peer-identity");
    const one = await rawClient(pod.hbone, await pki.issue(client));
    const other = await rawClient(pod.hbone, await pki.issue(identity("other")));
    const authorities = [`${pod.address}:1`, `${pod.address}:2`];
    for (const { session } of [one, other]) {
      for (const authority of [...authorities, ...authorities]) await rawConnect(session, authority);
    }
    expect(node.connects.map(({ peer, authority }) => [peer, authority])).toEqual([
      [client, authorities[0]],
      [client, authorities[1]],
      [identity("other"), authorities[0]],
      [identity("other"), authorities[1]],
    ]);
    expect(node.engine.stats()).toMatchObject({ rememberedDecisions: 4, rememberedHitsTotal: 4 });
  });

  it("depends on the port alone when it says so", async () => {
    const { app, node, pod } = await start();
    node.decideConnect = () => remember(dialTo(pod.handle, app), 1, "destination-port");
    const { session } = await rawClient(pod.hbone, await pki.issue(client));
    await rawConnect(session, `${pod.address}:80`);
    await rawConnect(session, "web.test.svc:80");
    await rawConnect(session, `${pod.address}:81`);
    expect(node.connects.map(({ authority }) => authority)).toEqual([`${pod.address}:80`, `${pod.address}:81`]);
  });

  it("is forgotten when a newer epoch begins, before that call returns", async () => {
    const { node, pod, dial } = await start();
    let epoch = 1;
    node.decideFlow = () => remember(dial, epoch, "destination");
    await ping(await dialApp(pod.outbound));
    epoch = 2;
    node.engine.advanceEpoch(2);
    expect(node.engine.stats().rememberedDecisions).toBe(0);
    await ping(await dialApp(pod.outbound));
    await ping(await dialApp(pod.outbound));
    expect(node.arrived).toHaveLength(2);
  });

  it("survives an epoch that is not newer than itself", async () => {
    const { node, pod, dial } = await start();
    node.decideFlow = () => remember(dial, 5, "destination");
    await ping(await dialApp(pod.outbound));
    node.engine.advanceEpoch(5);
    node.engine.advanceEpoch(3);
    await ping(await dialApp(pod.outbound));
    expect(node.arrived).toHaveLength(1);
  });

  it("is forgotten for one pod when only that pod's epoch advances", async () => {
    const { app, node, pod, dial } = await start();
    const other = await node.addPod(pod.credential, server, { destination: app });
    node.decideFlow = () => remember(dial, 1);
    await ping(await dialApp(pod.outbound));
    await ping(await dialApp(other.outbound));
    node.engine.advanceEpoch(2, pod.handle);
    await ping(await dialApp(other.outbound));
    await ping(await dialApp(pod.outbound));
    expect(node.arrived.map(({ pod }) => pod)).toEqual([pod.handle, other.handle, pod.handle]);
  });

  it("is carried out but never kept when it was made from a state that is old by then", async () => {
    const { node, pod, dial } = await start();
    node.decideFlow = () => {
      // The mesh changes between the judgement and its arrival at the engine.
      const stale = remember(dial, 1, "destination");
      node.engine.advanceEpoch(2);
      return stale;
    };
    expect(await ping(await dialApp(pod.outbound))).toBe("ping");
    expect(await ping(await dialApp(pod.outbound))).toBe("ping");
    expect(node.arrived).toHaveLength(2);
    expect(node.engine.stats()).toMatchObject({ rememberedDecisions: 0, rememberedHitsTotal: 0 });
  });

  it("may refuse, too", async () => {
    const { node, pod } = await start();
    node.decideFlow = () => remember({ kind: "refuse", label: 4, reason: "no-endpoint" }, 1);
    for (let i = 0; i < 2; i += 1) expect(await closeCode(await dialApp(pod.outbound))).toBe("ECONNRESET");
    expect(await node.closing(2)).toMatchObject({ label: 4, reason: "no-endpoint" });
    expect(node.arrived).toHaveLength(1);
  });

  it("is asked for again when its groups have been released", async () => {
    const { app, node, pod } = await start();
    const peer = await rawServer(await pki.issue(server), echoStream);
    node.decideFlow = () => remember(carry(node.group(pod, peer, server)), 1, "destination");
    const socket = await dialApp(pod.outbound);
    await ping(socket);
    node.engine.releaseGroup(node.group(pod, peer, server));
    node.decideFlow = () => dialTo(pod.handle, app);
    expect(await ping(await dialApp(pod.outbound))).toBe("ping");
    expect(node.arrived).toHaveLength(2);
  });

  it("goes with its pod", async () => {
    const { node, pod, dial } = await start();
    node.decideFlow = () => remember(dial, 1);
    await ping(await dialApp(pod.outbound));
    await node.engine.removePod(pod.handle, { graceMs: 0, reason: "pod-removed" });
    expect(node.engine.stats()).toMatchObject({ pods: 0, rememberedDecisions: 0 });
  });

  it("is one of a bounded number, whatever peers ask for", async () => {
    const { app, node, pod } = await start({ limits: { flows: 8 } });
    node.decideConnect = () => remember(dialTo(pod.handle, app), 1, "authority");
    const { session } = await rawClient(pod.hbone, await pki.issue(client));
    for (let port = 1; port <= 20; port += 1) {
      const { stream } = await rawConnect(session, `${pod.address}:${port}`);
      stream.end();
      await node.closing(port);
    }
    expect(node.engine.stats().rememberedDecisions).toBeLessThanOrEqual(8);
  });
});
