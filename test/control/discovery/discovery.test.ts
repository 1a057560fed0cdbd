import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { status } from "@grpc/grpc-js";
import { expect, it } from "vitest";
import { AuthorizationSchema } from "../../../src/xds/gen/istio/security/authorization_pb.ts";
import { AddressSchema, TunnelProtocol, type Workload } from "../../../src/xds/gen/istio/workload/workload_pb.ts";
import { LocalPodSchema, NetworkPolicy } from "../../../src/xds/gen/warren/node/v1/local_pod_pb.ts";
import { decodeAddress } from "../../../src/xds/resources/address.ts";
import { type ControlPlane, podManifest, startControlPlane } from "../../support/control-plane.ts";
import { namesIn, XdsClient } from "../../support/xds-client.ts";

const address = "istio.workload.Address";
const authorization = "istio.security.Authorization";
const localPod = "warren.node.v1.LocalPod";
const uid = (name: string) => `Kubernetes//Pod/production/${name}`;
const policy = (name: string, spec: object, kind = "AuthorizationPolicy") => ({
  apiVersion: "security.istio.io/v1",
  kind,
  metadata: { name, namespace: "production" },
  spec,
});
const web = podManifest("web", "w1");
const db = podManifest("db", "w2", { address: "10.0.0.2" });

async function connect(plane: ControlPlane, node = "w1"): Promise<XdsClient> {
  const token = (await readFile(join(plane.folder, `${node}.token`), "utf8")).trim();
  return new XdsClient({
    address: `127.0.0.1:${plane.port}`,
    rootFile: join(plane.folder, "published/root.pem"),
    token,
  });
}

function workload(client: XdsClient, name: string): Workload | undefined {
  const { type } = fromBinary(AddressSchema, client.held.get(uid(name))?.bytes ?? new Uint8Array());
  return type.case === "workload" ? type.value : undefined;
}

async function clientsOf(
  plane: ControlPlane,
): Promise<{ node: string; types: Record<string, Record<string, unknown>> }[]> {
  const answer = await fetch(`http://127.0.0.1:${plane.adminPort}/discovery`);
  return (await answer.json()) as { node: string; types: Record<string, Record<string, unknown>> }[];
}

it("turns away whoever shows no good token, and does not read what it says", async () => {
  const plane = await startControlPlane([], [...web]);
  const client = new XdsClient({
    address: `127.0.0.1:${plane.port}`,
    rootFile: join(plane.folder, "published/root.pem"),
    token: "wrong",
  });
  client.send(address);
  await expect.poll(() => client.error?.code).toBe(status.UNAUTHENTICATED);
  expect(client.responses).toEqual([]);
});

it("answers a first request without names with everything, then with what changes and what goes", async () => {
  const plane = await startControlPlane([], [...web]);
  const client = await connect(plane);
  client.send(address);
  const first = await client.response(1);
  expect(namesIn(first)).toEqual([uid("web")]);
  client.acknowledge(first);
  await plane.apply(...web, ...db);
  const second = await client.response(2);
  expect(namesIn(second)).toEqual([uid("db")]);
  client.acknowledge(second);
  await plane.apply(...web);
  const third = await client.response(3);
  expect([namesIn(third), third.removedResources]).toEqual([[], [uid("db")]]);
});

it("answers even when there is nothing", async () => {
  const client = await connect(await startControlPlane());
  client.send(authorization);
  expect(await client.response(1)).toMatchObject({ resources: [], removedResources: [] });
});

it("keeps one response per type on its way, and gathers what changes meanwhile", async () => {
  const plane = await startControlPlane([], [...web]);
  const client = await connect(plane);
  client.send(address);
  const first = await client.response(1);
  const pending = async () => (await clientsOf(plane))[0]?.types["address"]?.["pending"];
  await plane.apply(...podManifest("web", "w1", { address: "10.0.1.1" }), ...db);
  await expect.poll(pending).toBe(2);
  await plane.apply(
    ...podManifest("web", "w1", { address: "10.0.1.2" }),
    ...db,
    ...podManifest("late", "w1", { address: "10.0.1.9" }),
  );
  await expect.poll(pending).toBe(3);
  expect(client.responses.length).toBe(1);
  // A nonce that is not the last one's frees nothing.
  client.acknowledge({ ...first, nonce: "no such" });
  client.acknowledge(first);
  expect(namesIn(await client.response(2))).toEqual([uid("db"), uid("late"), uid("web")]);
  expect(workload(client, "web")?.addresses.map((bytes) => bytes.join("."))).toEqual(["10.0.1.2"]);
});

it("sends a client that comes back only what it lacks, and names what is gone", async () => {
  const plane = await startControlPlane([], [...web, ...db]);
  const before = await connect(plane);
  before.send(address);
  await before.response(1);
  const versions = Object.fromEntries([...before.held].map(([name, { version }]) => [name, version]));
  before.end();
  const client = await connect(plane);
  const initialResourceVersions = { ...versions, [uid("web")]: "older", [uid("gone")]: "x" };
  client.send(address, { initialResourceVersions });
  const response = await client.response(1);
  expect(namesIn(response)).toEqual([uid("web")]);
  expect(response.removedResources).toEqual([uid("gone")]);
});

it("takes back a client that names 150 000 resources in one request", async () => {
  const plane = await startControlPlane([], [...web]);
  const client = await connect(plane);
  const held = Array.from({ length: 150_000 }, (_, at): [string, string] => [
    `Kubernetes//Pod/some-namespace-${at % 200}/a-deployment-with-a-name-7d9f8c6b5-${at}`,
    "a-version-of-16-",
  ]);
  client.send(address, { initialResourceVersions: Object.fromEntries(held) });
  const response = await client.response(1);
  expect(namesIn(response)).toEqual([uid("web")]);
  expect(response.removedResources.length).toBe(150_000);
});

it("answers by name and by address on demand, also that there is nothing, and tells when there is", async () => {
  const plane = await startControlPlane([], [...web]);
  const client = await connect(plane);
  client.send(address, { resourceNamesSubscribe: ["*"], resourceNamesUnsubscribe: ["*"] });
  client.acknowledge(await client.response(1));
  expect(client.held.size).toBe(0);
  client.send(address, { resourceNamesSubscribe: ["/10.0.0.1"] });
  const second = await client.response(2);
  expect(namesIn(second)).toEqual([uid("web")]);
  client.acknowledge(second);
  client.send(address, { resourceNamesSubscribe: ["/10.0.0.2"] });
  const third = await client.response(3);
  expect(third.removedResources).toEqual(["/10.0.0.2"]);
  client.acknowledge(third);
  await plane.apply(...web, ...db);
  const fourth = await client.response(4);
  expect(namesIn(fourth)).toEqual([uid("db")]);
  client.acknowledge(fourth);
  client.send(address, { resourceNamesUnsubscribe: ["/10.0.0.2"], resourceNamesSubscribe: ["/10.0.0.1"] });
  expect(namesIn(await client.response(5))).toEqual([uid("web")]);
});

it("answers for a Service with its endpoints too, pods and others, and follows them", async () => {
  const service = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "shop", namespace: "production" },
    spec: { clusterIP: "10.96.0.7", ports: [{ port: 80 }] },
  };
  const slice = (...addresses: string[]) => ({
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: "shop-1", namespace: "production", labels: { "kubernetes.io/service-name": "shop" } },
    addressType: "IPv4",
    ports: [{ name: "", port: 8080 }],
    endpoints: addresses.map((one) => ({
      addresses: [one],
      ...(one === "10.0.0.1" ? { targetRef: { kind: "Pod", name: "web" } } : {}),
    })),
  });
  const plane = await startControlPlane([], [...web, ...db, service, slice("10.0.0.1", "203.0.113.9")]);
  const client = await connect(plane);
  client.send(address, { resourceNamesSubscribe: ["*"], resourceNamesUnsubscribe: ["*"] });
  client.acknowledge(await client.response(1));
  client.send(address, { resourceNamesSubscribe: ["/10.96.0.7"] });
  const external = "Kubernetes/discovery.k8s.io/EndpointSlice/production/shop/203.0.113.9";
  const key = "production/shop.production.svc.cluster.local";
  const held = () => {
    for (const response of client.responses.splice(0)) client.acknowledge(response);
    return [...client.held.keys()].sort();
  };
  await expect.poll(held).toEqual([external, uid("web"), key].sort());
  await plane.apply(...web, ...db, service, slice("203.0.113.9"));
  await expect.poll(held).toEqual([external, key].sort());
  await plane.apply(...web, ...db, service, slice("10.0.0.1"));
  await expect.poll(held).toEqual([uid("web"), key].sort());
  await plane.apply(...web, ...db);
  await expect.poll(held).toEqual([]);
});

it("answers a ztunnel on demand: by the name it asked by, and of its node's workloads unasked, whatever node it names", async () => {
  const service = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "shop", namespace: "production" },
    spec: { clusterIP: "10.96.0.7", ports: [{ port: 80 }] },
  };
  const plane = await startControlPlane([], [...web, ...db]);
  const client = await connect(plane, "w2");
  const told = async (number: number) => {
    const response = await client.response(number);
    client.acknowledge(response);
    return [namesIn(response), response.removedResources];
  };
  const node = { id: "ztunnel~10.0.0.9~z.ns~ns.svc.cluster.local", metadata: { NODE_NAME: "w1" } };
  client.send(authorization, { node });
  expect(await told(1)).toEqual([[], []]);
  client.send(address, { node, resourceNamesSubscribe: ["*"], resourceNamesUnsubscribe: ["*"] });
  expect(await told(2)).toEqual([[uid("db")], []]);
  client.send(address, { resourceNamesSubscribe: ["/10.0.0.1"] });
  const third = await client.response(3);
  client.acknowledge(third);
  // Both say the same: who it is they say inside.
  const [asked, own] = third.resources.toSorted((one, other) => (one.name < other.name ? -1 : 1));
  expect([asked?.name, own?.name, own?.aliases]).toEqual(["/10.0.0.1", uid("web"), ["/10.0.0.1"]]);
  expect({ ...asked, name: own?.name }).toEqual(own);
  client.send(address, { resourceNamesSubscribe: ["/10.96.0.7"] });
  expect(await told(4)).toEqual([[], ["/10.96.0.7"]]);
  const held = () => {
    for (const response of client.responses.splice(0)) client.acknowledge(response);
    return [...client.held.keys()].sort();
  };
  // Another pod of the address that was asked for. Where it went under that is told to who comes back.
  await plane.apply(...podManifest("anew", "w1"), ...db, service);
  await expect.poll(held).toEqual(["/10.0.0.1", uid("anew"), uid("db")]);
  client.send(address, { resourceNamesSubscribe: ["/10.96.0.7"] });
  const key = "production/shop.production.svc.cluster.local";
  await expect.poll(held).toEqual(["/10.0.0.1", "/10.96.0.7", uid("anew"), uid("db"), key]);
});

it("tells a node of its own pods alone, whatever it asks for", async () => {
  const plane = await startControlPlane([], [...web, ...db]);
  const client = await connect(plane, "w2");
  client.send(localPod, { node: { id: "w1" }, resourceNamesSubscribe: ["*", "uid-web"] });
  const response = await client.response(1);
  expect(namesIn(response)).toEqual(["uid-db"]);
  expect(response.removedResources).toEqual(["uid-web"]);
});

it("tells a node which of its pods a NetworkPolicy selects, as policies and labels come and go", async () => {
  const plane = await startControlPlane([], [...web, ...db]);
  const client = await connect(plane);
  client.send(localPod);
  const said = () => {
    for (const response of client.responses.splice(0)) client.acknowledge(response);
    return fromBinary(LocalPodSchema, client.held.get("uid-web")?.bytes ?? new Uint8Array()).networkPolicy;
  };
  await expect.poll(said).toBe(NetworkPolicy.NONE);
  const selecting = (app: string) => ({
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: "np", namespace: "production" },
    spec: { podSelector: { matchLabels: { app } } },
  });
  const labelled = (app: string) => {
    const [namespace, pod] = web as [object, { metadata: object }];
    return [namespace, { ...pod, metadata: { ...pod.metadata, labels: { app } } }];
  };
  await plane.apply(...labelled("web"), ...db, selecting("web"));
  await expect.poll(said).toBe(NetworkPolicy.SELECTED);
  await plane.apply(...labelled("web"), ...db, selecting("other"));
  await expect.poll(said).toBe(NetworkPolicy.NONE);
  await plane.apply(...labelled("other"), ...db, selecting("other"));
  await expect.poll(said).toBe(NetworkPolicy.SELECTED);
});

it("shows who rejected what, and does not send it again until it changes", async () => {
  const plane = await startControlPlane([], [...web]);
  const client = await connect(plane);
  client.send(address, { node: { id: "ztunnel~10.0.0.9~z.ns~ns.svc" } });
  client.acknowledge(await client.response(1), "web is odd");
  await expect
    .poll(async () => (await clientsOf(plane))[0]?.types["address"])
    .toMatchObject({
      rejected: 1,
      lastRejection: "web is odd",
      rejectedMs: expect.any(Number) as number,
      resources: 1,
      pending: 0,
      wildcard: true,
    });
  expect(await clientsOf(plane)).toMatchObject([{ node: "w1", id: "ztunnel~10.0.0.9~z.ns~ns.svc", agent: false }]);
  expect(plane.lines.some(({ why }) => why === "web is odd")).toBe(true);
  await plane.apply(...podManifest("web", "w1", { address: "10.0.0.7" }));
  expect(namesIn(await client.response(2))).toEqual([uid("web")]);
});

it("gives Istio's clients endpoints and the policies that select a workload, by name", async () => {
  const service = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "web", namespace: "production" },
    spec: { clusterIP: "10.96.0.1", ports: [{ port: 80, targetPort: 8080 }], selector: { app: "web" } },
  };
  const [namespace, pod] = web as [object, { metadata: object; status: object }];
  const ready = {
    ...pod,
    metadata: { ...pod.metadata, labels: { app: "web" } },
    status: { ...pod.status, conditions: [{ type: "Ready", status: "True" }] },
  };
  const selector = { matchLabels: { app: "web" } };
  const strict = policy("strict", { mtls: { mode: "STRICT" } }, "PeerAuthentication");
  const allow = policy("allow", { selector, rules: [{ from: [{ source: { namespaces: ["production"] } }] }] });
  const plane = await startControlPlane([], [namespace, ready, service, strict, allow]);
  const client = await connect(plane);
  client.send(authorization);
  const policies = await client.response(1);
  expect(namesIn(policies)).toEqual(["production/allow", "warren-system/(strict)"]);
  expect(
    policies.resources
      .map(({ resource }) => fromBinary(AuthorizationSchema, resource?.value ?? new Uint8Array()).name)
      .sort(),
  ).toEqual(["(strict)", "allow"]);
  client.send(address);
  client.acknowledge(await client.response(2));
  const key = "production/web.production.svc.cluster.local";
  expect(client.held.has(key)).toBe(true);
  expect(workload(client, "web")).toMatchObject({
    authorizationPolicies: ["production/allow", "warren-system/(strict)"],
    services: { [key]: { ports: [{ servicePort: 80, targetPort: 8080 }] } },
  });
  // The label goes, and with it the endpoint and the policy.
  await plane.apply(namespace, pod, service, strict, allow);
  await expect
    .poll(() => workload(client, "web"))
    .toMatchObject({
      authorizationPolicies: ["warren-system/(strict)"],
      services: {},
    });
});

it("tells Istio's clients, who know no DISABLE, that such a workload speaks no HBONE, and our agents what it is", async () => {
  const disable = (portLevelMtls?: object) =>
    policy(
      "plain",
      { selector: { matchLabels: { app: "web" } }, mtls: { mode: "DISABLE" }, ...(portLevelMtls && { portLevelMtls }) },
      "PeerAuthentication",
    );
  const [namespace, pod] = web as [object, { metadata: object }];
  const labelled = { ...pod, metadata: { ...pod.metadata, labels: { app: "web" } } };
  const plane = await startControlPlane([], [namespace, labelled, ...db, disable()]);
  const client = await connect(plane);
  client.send(address);
  const told = () => {
    for (const response of client.responses.splice(0)) client.acknowledge(response);
    return ["web", "db"].map((name) => workload(client, name)?.tunnelProtocol);
  };
  await expect.poll(told).toEqual([TunnelProtocol.NONE, TunnelProtocol.HBONE]);
  const decoded = decodeAddress(uid("web"), client.held.get(uid("web"))?.bytes ?? new Uint8Array());
  expect(decoded).toMatchObject({ kind: "workload", workload: { name: "web", tunnel: "hbone" } });
  // A port that takes tunnels needs them said: what they cannot tell apart is refused at the others.
  await plane.apply(namespace, labelled, ...db, disable({ 8443: { mode: "STRICT" } }));
  await expect.poll(told).toEqual([TunnelProtocol.HBONE, TunnelProtocol.HBONE]);
  await plane.apply(namespace, labelled, ...db, disable());
  await expect.poll(told).toEqual([TunnelProtocol.NONE, TunnelProtocol.HBONE]);
  await plane.apply(namespace, labelled, ...db);
  await expect.poll(told).toEqual([TunnelProtocol.HBONE, TunnelProtocol.HBONE]);
});

it("sends a state in parts to clients that say so", async () => {
  const pods = Array.from({ length: 1500 }, (_, index) => {
    const address = `10.1.${Math.floor(index / 250)}.${index % 250}`;
    return podManifest(`web-${index}-with-a-rather-long-name-to-fill-the-wire`, "w1", { address })[1];
  });
  const plane = await startControlPlane([], [web[0] as object, ...(pods as object[])]);
  const client = await connect(plane);
  client.send(address, { node: { id: "agent", metadata: { WARREN_CHUNKED: true } } });
  let number = 1;
  for (let more = true; more; number++) {
    const response = await client.response(number);
    more = response.more;
    client.acknowledge(response);
  }
  expect(number).toBeGreaterThan(2);
  expect(client.held.size).toBe(1500);
});

it("refuses types that it does not have", async () => {
  const client = await connect(await startControlPlane());
  client.send("envoy.config.listener.v3.Listener");
  await expect.poll(() => client.error?.code).toBe(status.INVALID_ARGUMENT);
});
