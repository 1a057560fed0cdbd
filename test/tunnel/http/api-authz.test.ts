/**
 * The example policy as users write it (`examples/policies/api-authz.yaml`), through everything that decides and moves: two drivers
 * on engines of their own, tunnels between them on loopback, and an application that counts what reaches it.
 */
import { readFile } from "node:fs/promises";
import { connect, createServer } from "node:http2";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { translateAuthorizationPolicy } from "../../../src/manifests/translate/authorization-policy.ts";
import { MeshIndex } from "../../../src/mesh/mesh-index.ts";
import type { AuthorizationPolicy } from "../../../src/model/authorization.ts";
import type { MeshSource } from "../../../src/model/mesh.ts";
import type { SocketOps } from "../../../src/model/sockets.ts";
import type { LocalPod, Workload } from "../../../src/model/workload.ts";
import type { FlowClosed } from "../../../src/tunnel/engine.ts";
import type { HttpRequestRecord } from "../../../src/tunnel/http/enforcement.ts";
import { httpRequests } from "../../../src/tunnel/http/requests.ts";
import { TunnelDriver } from "../../../src/tunnel/tunnel-driver.ts";
import { type EngineKind, enginePairs } from "../../conformance/support/engines.ts";
import { addon, freshAddress, listen as listenAs, netns } from "../../conformance/support/loopback.ts";
import { MeshPki } from "../../conformance/support/mesh-pki.ts";
import { engineOptions } from "../../conformance/support/options.ts";
import { framed } from "../../manifests/objects.ts";
import { authorizationPolicy, localPod, peerAuthentication, settings, workload } from "../../mesh/build.ts";
import { listen, RawClient, testOptions, until } from "./support/gate.ts";
import { type Seen, Stage } from "./support/stage.ts";

async function example(): Promise<AuthorizationPolicy> {
  const object: Record<string, unknown> = parse(await readFile("examples/policies/api-authz.yaml", "utf8"));
  const translation = translateAuthorizationPolicy(framed(object), "production");
  if (translation.kind !== "ok") throw new Error("the example is not understood");
  return translation.value;
}

/** Loopback needs no transparent sockets, and whoever runs this may not have the right to make them. */
const sockets: SocketOps = {
  openSocket: (fd, { purpose, family, mark }) => addon.openSocket(fd, { purpose, family, mark }),
  originalDestination: (fd, how, role) => addon.originalDestination(fd, how, role),
};

const stage = new Stage();
const production = { namespace: "production" };

afterEach(() => stage.close());

describe.each(enginePairs)("api-authz.yaml from $name", (kinds) => {
  let index: MeshIndex;
  let policy: AuthorizationPolicy;
  let pki: MeshPki;
  let seen: Seen[];
  let port: number;
  let api: Workload;
  let records: HttpRequestRecord[];
  let closed: FlowClosed[];
  let errors: unknown[];

  function node(kind: EngineKind): TunnelDriver {
    const mesh: MeshSource = {
      view: index,
      onChange: (listener) => index.onChange(listener),
      start: async () => undefined,
      stop: async () => undefined,
    };
    const internalError = (error: unknown) => errors.push(error);
    const driver = new TunnelDriver(
      {
        engine: (events) => kind.create({ events, sockets }, engineOptions()),
        mesh,
        telemetry: {
          flowClosed: (record) => closed.push({ ...record }),
          tunnelUp: () => undefined,
          tunnelDown: () => undefined,
          internalError,
        },
        requests: httpRequests(
          { sockets, requestEnded: (record) => records.push(record), internalError },
          { ...testOptions, connectTimeout: 2000 },
        ),
      },
      { unknownSourceHold: 2000 },
    );
    driver.start();
    stage.add(() => driver.stop());
    return driver;
  }

  /** Captures a pod of its own address; its outbound connections all go to the api. */
  async function capture(driver: TunnelDriver, of: Workload): Promise<LocalPod> {
    const local = localPod(of);
    const [address = ""] = of.addresses;
    driver.setCredential(of.identity, await pki.credential(of.identity));
    driver.addPod(local, {
      netns: { fd: netns },
      listeners: [
        await listenAs(address, "outbound"),
        await listenAs(address, "inbound"),
        await listenAs(address, "hbone"),
      ],
      originalDestination: { kind: "fixed", destination: { address: api.addresses[0] ?? "", port } },
      marks: { leave: 0, deliver: 0 },
    });
    return local;
  }

  const outboundOf = (of: Workload) => ({ host: of.addresses[0] ?? "", port: 15_001 });

  async function ask(from: Workload, method: string): Promise<string> {
    const { host } = outboundOf(from);
    const client = await RawClient.open(15_001, { host });
    client.send(`${method} /orders HTTP/1.1\r\nHost: api\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
    await client.closed;
    return client.text;
  }

  let frontend: Workload;
  let batch: Workload;
  let clients: TunnelDriver;
  let servers: TunnelDriver;

  beforeEach(async () => {
    records = [];
    closed = [];
    errors = [];
    pki = await MeshPki.create();
    policy = await example();
    const address = freshAddress();
    const application = await stage.application(
      (request, response) => response.end(`${request.method} from ${request.socket.remoteAddress}`),
      address,
    );
    ({ seen, port } = application);
    api = workload("api", address, production);
    frontend = workload("frontend", freshAddress(), production);
    batch = workload("batch", freshAddress(), production);
    index = new MeshIndex(settings);
    index.apply({ workloads: [api, frontend, batch], authorizationPolicies: [policy] });
    clients = node(kinds.client);
    servers = node(kinds.server);
    await capture(servers, api);
    await capture(clients, frontend);
    await capture(clients, batch);
  });

  test("GET of the frontend passes", async () => {
    expect(await ask(frontend, "GET")).toMatch(/^HTTP\/1.1 200 OK\r\n.*GET from 127\./s);
    expect(records).toMatchObject([
      {
        method: "GET",
        path: "/orders",
        status: 200,
        policy: "production/api-authz",
        rule: 0,
        flow: { peer: frontend.identity },
      },
    ]);
    expect(errors).toEqual([]);
  });

  test("POST of the frontend is refused with 403, and so is a GET of another identity", async () => {
    const post = await ask(frontend, "POST");
    expect(post).toMatch(/^HTTP\/1.1 403 Forbidden\r\n/);
    expect(post).toContain("x-warren-reason: policy-denied\r\n");
    expect(post).toMatch(/\r\n\r\nRBAC: access denied$/);
    expect(await ask(batch, "GET")).toMatch(/^HTTP\/1.1 403 Forbidden\r\n/);
    expect(records.map(({ method, reason, policy }) => [method, reason, policy])).toEqual([
      ["POST", "policy-denied", "production/api-authz"],
      ["GET", "policy-denied", "production/api-authz"],
    ]);
    expect(seen).toEqual([]);
  });

  test("plaintext is refused with 403 too, and closed without an answer when PeerAuthentication is STRICT", async () => {
    const plain = async () => {
      // The reset may be quicker than the word that the connection stands.
      const client = await RawClient.open(15_006, { host: api.addresses[0] ?? "" }).catch(() => undefined);
      if (client === undefined) return "";
      client.send("GET / HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n");
      await client.closed;
      return client.text;
    };
    expect(await plain()).toMatch(/^HTTP\/1.1 403 Forbidden\r\n/);
    index.apply({ peerAuthentications: [peerAuthentication({ namespace: "production", mode: "STRICT" })] });
    expect(await plain()).toBe("");
    expect(seen).toEqual([]);
  });

  test("an open connection follows the policy of the moment", async () => {
    const client = await RawClient.open(15_001, { host: outboundOf(frontend).host });
    client.send("GET /1 HTTP/1.1\r\nHost: api\r\n\r\n");
    await client.reads("GET from");
    const deny = authorizationPolicy("DENY", [{ to: [{ methods: ["GET"] }] }], production);
    index.apply({ authorizationPolicies: [deny] });
    client.send("GET /2 HTTP/1.1\r\nHost: api\r\n\r\n");
    await client.reads("RBAC: access denied");
    index.apply({ removedAuthorizationPolicies: ["production/deny"] });
    client.send("GET /3 HTTP/1.1\r\nHost: api\r\n\r\n");
    await client.reads(/RBAC: access denied.*GET from/s);
    expect(seen.map(({ line }) => line)).toEqual(["GET /1", "GET /3"]);
    client.close();
  });

  test("a connection that passed unread ends when the policy comes, and one that is read goes on when it leaves", async () => {
    index.apply({ removedAuthorizationPolicies: ["production/api-authz"] });
    const unread = await RawClient.open(15_001, { host: outboundOf(frontend).host });
    unread.send("GET /1 HTTP/1.1\r\nHost: api\r\n\r\n");
    await unread.reads("GET from");
    index.apply({ authorizationPolicies: [policy] });
    await unread.closed;
    const read = await RawClient.open(15_001, { host: outboundOf(frontend).host });
    read.send("GET /2 HTTP/1.1\r\nHost: api\r\n\r\n");
    await read.reads("GET from");
    index.apply({ removedAuthorizationPolicies: ["production/api-authz"] });
    read.send("POST /3 HTTP/1.1\r\nHost: api\r\nContent-Length: 0\r\n\r\n");
    await read.reads("POST from");
    read.close();
    await until(() => closed.some(({ reason }) => reason === "policy-changed"));
  });

  test("HTTP/2 with prior knowledge is judged stream by stream", async () => {
    const server = createServer();
    server.on("stream", (stream) => {
      stream.respond({ ":status": 200 });
      stream.end("two");
    });
    const own = freshAddress();
    port = await listen(server, own);
    stage.add(() => server.close());
    const two = workload("two", own, { ...production, labels: { app: "api" } });
    api = two;
    index.apply({ workloads: [two] });
    await capture(servers, two);
    const caller = workload("caller", freshAddress(), { ...production, serviceAccount: "frontend" });
    index.apply({ workloads: [caller] });
    await capture(clients, caller);
    const session = connect(`http://${outboundOf(caller).host}:15001`);
    stage.add(() => session.destroy());
    const statuses = await Promise.all(
      ["GET", "POST"].map(
        (method) =>
          new Promise((resolve) => {
            const stream = session.request({ ":method": method, ":path": "/" }, { endStream: true });
            stream.once("response", (headers) => resolve(headers[":status"]));
            stream.resume();
          }),
      ),
    );
    expect(statuses).toEqual([200, 403]);
  });

  test("a drain lets what is due end, and the connection with it", async () => {
    const client = await RawClient.open(15_001, { host: outboundOf(frontend).host });
    client.send("GET / HTTP/1.1\r\nHost: api\r\n\r\n");
    await client.reads("GET from");
    const report = await servers.drain(5000);
    await client.closed;
    expect(report.cut).toEqual([]);
  });
});
