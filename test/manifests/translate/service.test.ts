import { describe, expect, test } from "vitest";
import { ClusterState } from "../../../src/manifests/cluster-state.ts";
import { pieceKind, translate } from "../../../src/manifests/translate/translate.ts";
import type { TrafficPreference } from "../../../src/model/service.ts";
import { settings } from "../../mesh/build.ts";
import { framed, podObject, serviceObject, sliceObject } from "../objects.ts";

/** The Service `api` of namespace `shop` as agents are told it, made of these objects in this order. */
function serviceOf(...objects: Record<string, unknown>[]) {
  const state = new ClusterState(settings);
  for (const raw of objects) {
    const object = framed(raw);
    const kind = pieceKind(object.apiVersion, object.kind);
    if (kind === undefined) throw new Error(`no such kind: ${object.kind}`);
    const namespace = object.metadata.namespace ?? "";
    const translation = translate(kind, object, namespace);
    if (translation.kind === "ok") state.set(namespace, object.metadata.name, translation.value);
    else if (translation.kind === "ignored") state.delete(namespace, object.metadata.name, kind);
    else throw new Error(JSON.stringify(translation));
    state.flush();
  }
  return state.index.serviceByHostname("shop", "api.shop.svc.cluster.local");
}

const api = (spec: Record<string, unknown> = {}, annotations: Record<string, string> = {}) => {
  const service = serviceObject("api", { clusterIP: "10.96.0.1", ports: [{ port: 80 }], ...spec });
  return { ...service, metadata: { name: "api", namespace: "shop", annotations } };
};

const slice = (name: string, ...hints: (object | undefined)[]) =>
  sliceObject(name, "api", {
    ports: [{ name: "", port: 80, protocol: "TCP" }],
    endpoints: hints.map((hint, index) => ({
      addresses: [`10.0.${name.length}.${index + 1}`],
      conditions: { ready: true },
      ...(hint === undefined ? {} : { hints: hint }),
    })),
  });

const zoneA = { forZones: [{ name: "a" }] };
const nodeOne = { forNodes: [{ name: "n1" }] };
const auto = { "service.kubernetes.io/topology-mode": "Auto" };
const sameZone: TrafficPreference = { scopes: ["region", "zone"], mode: "failover" };
const sameNode: TrafficPreference = { scopes: ["region", "zone", "node"], mode: "failover" };
const nodeOnly: TrafficPreference = { scopes: ["node"], mode: "strict" };

describe("which endpoints a client takes", () => {
  test.each<[string, Record<string, unknown>[], TrafficPreference | undefined]>([
    ["any, without a wish", [api(), slice("s", undefined)], undefined],
    ["any, with the default said", [api({ internalTrafficPolicy: "Cluster" })], undefined],
    ["those of its node, with internalTrafficPolicy Local", [api({ internalTrafficPolicy: "Local" })], nodeOnly],
    ["those near, with PreferClose", [api({ trafficDistribution: "PreferClose" })], sameZone],
    ["those near, with its new name", [api({ trafficDistribution: "PreferSameZone" })], sameZone],
    ["those nearest, with PreferSameNode", [api({ trafficDistribution: "PreferSameNode" })], sameNode],
    ["any, with a wish of a later Kubernetes", [api({ trafficDistribution: "PreferTheMoon" })], undefined],
    [
      "those of its node even if a wish stands beside the promise",
      [api({ internalTrafficPolicy: "Local", trafficDistribution: "PreferClose" })],
      nodeOnly,
    ],
    ["those near, by annotation, when all endpoints have hints", [api({}, auto), slice("s", zoneA, zoneA)], sameZone],
    [
      "by the annotation's older name too",
      [api({}, { "service.kubernetes.io/topology-aware-hints": "auto" }), slice("s", zoneA)],
      sameZone,
    ],
    ["any, by annotation, when one endpoint has no hint", [api({}, auto), slice("s", zoneA, undefined)], undefined],
    [
      "any, by annotation, when another slice has none",
      [api({}, auto), slice("s", zoneA), slice("other", undefined)],
      undefined,
    ],
    ["any, by annotation, while there are no slices", [api({}, auto)], undefined],
    ["any, with hints that nobody asked for", [api(), slice("s", zoneA, nodeOne)], undefined],
  ])("%s", (_name, objects, expected) => {
    expect(serviceOf(...objects)?.traffic).toEqual(expected);
    // Whatever is told first.
    expect(serviceOf(...objects.toReversed())?.traffic).toEqual(expected);
  });

  test("follows hints that come and go", () => {
    expect(serviceOf(api({}, auto), slice("s", zoneA), slice("s", undefined))?.traffic).toBeUndefined();
    expect(serviceOf(api({}, auto), slice("s", undefined), slice("s", zoneA))?.traffic).toEqual(sameZone);
  });
});

test("a Service that becomes an ExternalName is none of the mesh any more, and comes back as itself", () => {
  const external = serviceObject("api", { type: "ExternalName", externalName: "api.example.org" });
  expect(serviceOf(api(), external)).toBeUndefined();
  expect(serviceOf(external, api())).toMatchObject({ addresses: ["10.96.0.1"] });
});

test("external IPs, which anybody who may write a Service could claim, are not addresses of the mesh", () => {
  expect(serviceOf(api({ externalIPs: ["198.51.100.7"] }))?.addresses).toEqual(["10.96.0.1"]);
});

describe("where a node stands", () => {
  const node = (labels: Record<string, string>) => ({
    apiVersion: "v1",
    kind: "Node",
    metadata: { name: "n1", labels },
  });
  const region = "topology.kubernetes.io/region";
  const zone = "topology.kubernetes.io/zone";

  test.each([
    [
      { [region]: "eu", [zone]: "eu-a" },
      { region: "eu", zone: "eu-a" },
    ],
    [{ [zone]: "eu-a" }, { region: "", zone: "eu-a" }],
    [{}, undefined],
  ])("%j is told with its pods as %j, whichever comes first", (labels, expected) => {
    for (const objects of [
      [node(labels), podObject({ name: "web" })],
      [podObject({ name: "web" }), node(labels)],
    ]) {
      const state = new ClusterState(settings);
      for (const raw of objects) {
        const object = framed(raw);
        const kind = pieceKind(object.apiVersion, object.kind);
        const namespace = object.metadata.namespace ?? "";
        const translation = kind === undefined ? undefined : translate(kind, object, namespace);
        if (translation?.kind !== "ok") throw new Error("not translated");
        state.set(namespace, object.metadata.name, translation.value);
        state.flush();
      }
      expect(state.index.workloadByAddress("10.0.0.1")?.locality).toEqual(expected);
      state.delete("", "n1", "Node");
      state.flush();
      expect(state.index.workloadByAddress("10.0.0.1")?.locality).toBeUndefined();
    }
  });
});
