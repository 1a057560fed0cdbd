/**
 * What a real istiod (release 1.32 in development, on a real API server) told an agent of ours, byte by byte: a mesh of two pods of namespace
 * `shop`, where only `client` may call `web` at 8080, by an AuthorizationPolicy, and plaintext is refused by PeerAuthentications: STRICT
 * for the namespace, and for `web` but at 9090.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../../src/lib/clock.ts";
import type { Identity } from "../../../src/model/identity.ts";
import type { WorkloadUid } from "../../../src/model/workload.ts";
import { createDiscoverySource, type DiscoverySource } from "../../../src/xds/client/discovery-source.ts";
import { identity, settings } from "../../mesh/build.ts";
import { servingFiles } from "../../support/serving-files.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";
import { ScriptedServer } from "./scripted-server.ts";

const recorded = (name: string) => readFile(new URL(`recorded/istiod-${name}.bin`, import.meta.url));
const uid = (name: string) => `Kubernetes//Pod/shop/${name}` as WorkloadUid;

async function told(): Promise<{ source: DiscoverySource; server: ScriptedServer }> {
  const folder = await temporaryFolder();
  const files = await servingFiles(folder);
  await writeFile(join(folder, "token"), "secret\n");
  const server = new ScriptedServer();
  const port = await server.start(files);
  const source = createDiscoverySource(
    { clock: systemClock, random: () => 0.5 },
    {
      address: `127.0.0.1:${port}`,
      rootFile: files.root,
      tokenFile: join(folder, "token"),
      serverName: "",
      node: "n1",
      settings,
      dialect: "istio",
      stateFile: undefined,
    },
  );
  onTestFinished(() => source.stop());
  const start = source.start(AbortSignal.timeout(60_000));
  await server.asked(1, 2);
  server.raw(await recorded("authorization"));
  server.raw(await recorded("address"));
  await start;
  return { source, server };
}

test("is taken whole, and nothing of it is rejected", async () => {
  const { source, server } = await told();
  const pods = [uid("client"), uid("web"), "Kubernetes//Pod/istio-system/ztunnel-n1"];
  expect([...source.view.workloads()].map((workload) => workload.uid).sort()).toEqual(pods.sort());
  expect(source.view.workload(uid("web"))).toMatchObject({
    identity: "spiffe://cluster.local/ns/shop/sa/web",
    node: "n2",
    addresses: ["10.0.0.2"],
    tunnel: "hbone",
    locality: { region: "r1", zone: "z1" },
  });
  await expect.poll(() => server.requests.filter(({ responseNonce }) => responseNonce !== "").length).toBe(2);
  expect(server.requests.map(({ errorDetail }) => errorDetail)).toEqual(Array(server.requests.length).fill(undefined));
  expect(source.problems()).toEqual([]);
});

test("leads from Services to their endpoints, pods or not", async () => {
  const { source } = await told();
  const named = (host: string) => {
    const found = [...source.view.services()].find(({ hostname }) => hostname === `${host}.svc.cluster.local`);
    if (found === undefined) throw new Error(`${host} is missing`);
    return found;
  };
  const service = named("web.shop");
  expect(source.view.endpoints(named("kubernetes.default"), 443)).toMatchObject([
    { address: "192.0.2.2", targetPort: 35_777 },
  ]);
  expect(service).toMatchObject({ addresses: ["10.96.0.20"], ports: [{ port: 80, appProtocol: "http" }] });
  expect(source.view.endpoints(service, 80)).toMatchObject([
    { workload: uid("web"), targetPort: 8080, address: "10.0.0.2" },
  ]);
});

test.each<[string, Identity | "", number, string, string]>([
  ["the client at the port", identity("shop", "client"), 8080, "allow", "shop/only-client"],
  ["the client elsewhere", identity("shop", "client"), 9090, "deny", "shop/only-client"],
  ["another pod", identity("shop", "web"), 8080, "deny", "shop/only-client"],
  ["plaintext", "", 8080, "deny", "shop/converted_peer_authentication_web"],
  ["plaintext where it is let in, by what says who may call", "", 9090, "deny", "shop/only-client"],
])("judges as it was meant: %s", async (_who, peer, port, outcome, policy) => {
  const { source } = await told();
  const web = source.view.workload(uid("web"));
  const request = { peer, sourceAddress: "10.0.0.1", destination: { address: "10.0.0.2", port } };
  expect(web && source.view.authorize(web, request)).toMatchObject({ outcome, policy });
});

test("refuses plaintext to a pod of the namespace by the policy that istiod has for all", async () => {
  const { source } = await told();
  const client = source.view.workload(uid("client"));
  const request = { sourceAddress: "10.0.0.9", destination: { address: "10.0.0.1", port: 80 } };
  expect(client && source.view.authorize(client, { ...request, peer: "" })).toMatchObject({
    outcome: "deny",
    policy: "istio-system/istio_converted_static_strict",
  });
  expect(client && source.view.authorize(client, { ...request, peer: identity("shop", "web") })).toMatchObject({
    outcome: "allow",
  });
});
