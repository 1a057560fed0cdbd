/** Our agent on a server that speaks as istiod does: only Istio's types, policies by name, no settings, no pods. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { expect, it, onTestFinished } from "vitest";
import { systemClock } from "../../../src/lib/clock.ts";
import { createDiscoverySource, type DiscoverySource } from "../../../src/xds/client/discovery-source.ts";
import { Action, AuthorizationSchema, Scope } from "../../../src/xds/gen/istio/security/authorization_pb.ts";
import { encodeService } from "../../../src/xds/resources/service.ts";
import { encodeWorkload } from "../../../src/xds/resources/workload.ts";
import { identity, service, settings, workload } from "../../mesh/build.ts";
import { servingFiles } from "../../support/serving-files.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";
import { ScriptedServer } from "./scripted-server.ts";

const signal = () => AbortSignal.timeout(30_000);
const web = workload("web", "10.0.0.1");
const entry = service("shop", ["10.96.0.1"], { 80: [] }).service;
const behind = new Map([
  ["shop/shop.shop.svc.cluster.local", [{ port: 80, targetPort: 8080, address: "10.0.0.1", weight: 1 }]],
]);
const request = {
  peer: identity("shop", "client"),
  sourceAddress: "10.0.0.9",
  destination: { address: "10.0.0.1", port: 8080 },
};

function authorization(name: string, fields: object) {
  const message = create(AuthorizationSchema, { name, namespace: "shop", ...fields });
  return { name: `shop/${name}`, bytes: toBinary(AuthorizationSchema, message) };
}

const denyClient = authorization("deny-client", {
  scope: Scope.WORKLOAD_SELECTOR,
  action: Action.DENY,
  rules: [
    {
      clauses: [
        { matches: [{ principals: [{ matchType: { case: "exact", value: "cluster.local/ns/shop/sa/client" } }] }] },
      ],
    },
  ],
});

async function istiod(token = "secret") {
  const folder = await temporaryFolder();
  const files = await servingFiles(folder);
  await writeFile(join(folder, "token"), `${token}\n`);
  const server = new ScriptedServer();
  const port = await server.start(files);
  const make = (): DiscoverySource => {
    const options = { rootFile: files.root, tokenFile: join(folder, "token"), serverName: "", node: "n1" };
    const source = createDiscoverySource(
      { clock: systemClock, random: () => 0.5 },
      { address: `127.0.0.1:${port}`, ...options, settings, dialect: "istio", stateFile: join(folder, "state") },
    );
    onTestFinished(() => source.stop());
    return source;
  };
  return { server, make };
}

async function started(server: ScriptedServer, source: DiscoverySource): Promise<void> {
  const start = source.start(signal());
  await server.asked(1, 2);
  server.send("authorization", [denyClient]);
  server.send("address", [encodeWorkload(web, behind, ["shop/deny-client"]), encodeService(entry)]);
  await start;
}

it("says that it is of the namespace that its token names, not of the mesh's: istiod refuses anybody else", async () => {
  const claims = { sub: "system:serviceaccount:mesh:agent", "kubernetes.io": { pod: { name: "agent-x" } } };
  const { server, make } = await istiod(`h.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.s`);
  await started(server, make());
  expect(server.requests[0]?.node).toMatchObject({
    id: "ztunnel~0.0.0.0~agent-x.mesh~mesh.svc.cluster.local",
    metadata: { NAME: "agent-x", NAMESPACE: "mesh", NODE_NAME: "n1" },
  });
});

it("asks for Istio's types alone, as a proxy of a node, and takes policies for the workloads that name them", async () => {
  const { server, make } = await istiod();
  const source = make();
  await started(server, source);
  expect(server.requests.map(({ typeUrl }) => typeUrl.split("/")[1]).slice(0, 2)).toEqual([
    "istio.security.Authorization",
    "istio.workload.Address",
  ]);
  expect(server.requests[0]?.node).toMatchObject({
    id: "ztunnel~0.0.0.0~warren-n1.warren-system~warren-system.svc.cluster.local",
    metadata: { NODE_NAME: "n1", CLUSTER_ID: settings.cluster },
  });
  const ask = () => {
    const to = source.view.workload(web.uid);
    return to && source.view.authorize(to, request);
  };
  expect(ask()).toMatchObject({ outcome: "deny", policy: "shop/deny-client" });
  expect(source.view.endpoints(entry, 80)).toMatchObject([{ workload: web.uid, targetPort: 8080 }]);
  expect(source.view.settings).toEqual(settings);
  // A policy that goes before the workload's list says so is one that nobody knows: closed.
  server.send("authorization", [], { removed: ["shop/deny-client"], nonce: "gone" });
  await server.answer("gone");
  expect(ask()).toMatchObject({ outcome: "deny", reason: "policy-unevaluable" });
  server.send("address", [encodeWorkload(web, behind, [])], { nonce: "unnamed" });
  await server.answer("unnamed");
  expect(ask()).toMatchObject({ outcome: "allow" });
});

it("rejects a policy that cannot be read by its name, and refuses in its namespace meanwhile", async () => {
  const { server, make } = await istiod();
  const source = make();
  await started(server, source);
  server.send("authorization", [{ name: "shop/odd", bytes: authorization("odd", { scope: 9 }).bytes }], {
    nonce: "odd",
  });
  expect((await server.answer("odd")).errorDetail?.message).toMatch(/^shop\/odd: scope 9/);
  const other = workload("other", "10.0.0.2");
  server.send("address", [encodeWorkload(other)], { nonce: "other" });
  await server.answer("other");
  const to = source.view.workload(other.uid);
  expect(to && source.view.authorize(to, request)).toMatchObject({ outcome: "deny", reason: "policy-unevaluable" });
  server.send("authorization", [authorization("odd", { scope: Scope.NAMESPACE, action: Action.DENY })], {
    nonce: "read",
  });
  await server.answer("read");
  expect(to && source.view.authorize(to, request)).toMatchObject({ outcome: "allow" });
});

it("goes on from its last good state without istiod, policies included", async () => {
  const { server, make } = await istiod();
  const first = make();
  await started(server, first);
  await first.stop();
  server.stop();
  const second = make();
  await second.start(signal());
  const to = second.view.workload(web.uid);
  expect(to && second.view.authorize(to, request)).toMatchObject({ outcome: "deny", policy: "shop/deny-client" });
});
