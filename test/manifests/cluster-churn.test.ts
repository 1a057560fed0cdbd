/** A cluster that changes all the time: it is what a cluster put together at once would be, and a change costs what it touches. */
import { describe, expect, test, vi } from "vitest";
import { ClusterState, type Piece } from "../../src/manifests/cluster-state.ts";
import { pieceKind, translate } from "../../src/manifests/translate/translate.ts";
import { settings } from "../mesh/build.ts";
import { Random } from "../xds/resources/random.ts";
import { framed, podObject, serviceObject, sliceObject } from "./objects.ts";

interface Named {
  readonly namespace: string;
  readonly name: string;
  readonly piece: Piece;
}

function translated(raw: Record<string, unknown>): Named {
  const object = framed(raw);
  const kind = pieceKind(object.apiVersion, object.kind);
  const namespace = object.metadata.namespace ?? "";
  const translation = kind === undefined ? undefined : translate(kind, object, namespace);
  if (translation?.kind !== "ok") throw new Error(JSON.stringify(translation));
  return { namespace, name: object.metadata.name, piece: translation.value };
}

function put(state: ClusterState, { namespace, name, piece }: Named): void {
  state.set(namespace, name, piece);
}

function nodeObject(name: string, zone: string): Record<string, unknown> {
  return { apiVersion: "v1", kind: "Node", metadata: { name, labels: { "topology.kubernetes.io/zone": zone } } };
}

/** Everything that the mesh says, in an order of its own. */
function saidBy({ index }: ClusterState): unknown {
  const text = (value: unknown) =>
    JSON.stringify(value, (_, one) => (one instanceof Map ? Array.from(one, String).sort() : one));
  return {
    workloads: [...index.workloads()].map(text).sort(),
    services: Array.from(index.services(), (service) =>
      text([
        service,
        [...index.members(service)].sort(),
        service.ports.map(({ port }) => (index.endpoints(service, port) ?? []).map(text).sort()),
      ]),
    ).sort(),
    pods: ["n0", "n1", "n2"].map((node) => [...index.localPods(node)].map(text).sort()),
  };
}

describe("a cluster that changes", () => {
  test("is in the end what its last objects make at once", () => {
    const random = new Random(23);
    const state = new ClusterState(settings);
    const objects = new Map<string, Named>();
    const labels = () => Object.fromEntries(["app", "tier"].map((key) => [key, random.one(["a", "b"])]));
    const some = (of: Record<string, string>) => Object.fromEntries(Object.entries(of).filter(() => random.chance(2)));
    const drafts: readonly (() => Record<string, unknown>)[] = [
      () => nodeObject(`n${random.below(3)}`, random.one(["east", "west"])),
      () =>
        podObject({
          name: `pod-${random.below(12)}`,
          labels: labels(),
          spec: { nodeName: `n${random.below(3)}` },
          ips: [`10.0.0.${1 + random.below(20)}`],
          metadata: { uid: `uid-${random.below(99)}` },
          ready: random.chance(2),
          phase: random.one(["Running", "Running", "Succeeded"]),
        }),
      () => serviceObject(`s${random.below(4)}`, { selector: some(labels()), ports: [{ name: "http", port: 80 }] }),
      () =>
        sliceObject(`slice-${random.below(4)}`, `s${random.below(4)}`, {
          ports: [{ name: "http", port: 8080 }],
          endpoints: random.list(3, () => {
            const address = { addresses: [`10.0.0.${1 + random.below(20)}`] };
            const name = `pod-${random.below(12)}`;
            return random.chance(2) ? address : { ...address, targetRef: { kind: "Pod", name } };
          }),
        }),
    ];
    for (let step = 0; step < 2000; step++) {
      const named = translated(random.one(drafts)());
      const { namespace, name, piece } = named;
      const key = `${piece.kind} ${namespace}/${name}`;
      if (random.chance(3)) {
        state.delete(namespace, name, piece.kind);
        objects.delete(key);
      } else {
        put(state, named);
        objects.set(key, named);
      }
      if (random.chance(2)) state.flush();
      if (step % 100 !== 0) continue;
      // Endpoints follow their Service's objects; what is behind a slice is looked at again when those change.
      for (const service of objects.values()) {
        if (service.piece.kind !== "Service") continue;
        state.delete(service.namespace, service.name, "Service");
        put(state, service);
      }
      state.flush();
      const atOnce = new ClusterState(settings);
      for (const each of objects.values()) put(atOnce, each);
      atOnce.flush();
      expect(saidBy(state)).toEqual(saidBy(atOnce));
    }
  });
});

describe("a pod whose address alone stands in a slice", () => {
  const listed = sliceObject("s-1", "s", { endpoints: [{ addresses: ["10.0.0.7"] }] });
  const members = ({ index }: ClusterState) => {
    const service = index.serviceByHostname("shop", "s.shop.svc.cluster.local");
    return service === undefined ? undefined : [...index.members(service)];
  };

  test("is behind the Service when it comes last, until it goes, has another address, or isn't listed any more", () => {
    const state = new ClusterState(settings);
    const flushed = (...all: Record<string, unknown>[]) => {
      for (const each of all) put(state, translated(each));
      state.flush();
      return members(state);
    };
    const pod = podObject({ name: "late", ips: ["10.0.0.7"] });
    const moved = podObject({ name: "late", ips: ["10.0.0.8"] });
    expect(flushed(serviceObject("s", { ports: [{ port: 80 }] }), listed)).toEqual([]);
    expect(flushed(pod)).toEqual(["c1//Pod/shop/late"]);
    expect(flushed(moved)).toEqual([]);
    expect(flushed(pod)).toEqual(["c1//Pod/shop/late"]);
    state.delete("shop", "late", "Pod");
    expect(flushed()).toEqual([]);
    expect(flushed(pod)).toEqual(["c1//Pod/shop/late"]);
    state.delete("shop", "s-1", "EndpointSlice");
    expect(flushed()).toEqual([]);
    expect(flushed(moved, pod)).toEqual([]);
  });
});

describe("a change", () => {
  /** Of a namespace of 40 Services with 20 pods each, and whose pods were looked at since the last call. */
  function watched() {
    const state = new ClusterState(settings);
    const looked = new Set<string>();
    const pod = (at: number, service: number, metadata: Record<string, unknown> = {}): Named => {
      const labels = { part: "shop", app: `app-${service}` };
      const raw = podObject({ name: `pod-${at}`, labels, metadata, ips: [`10.0.${at >> 8}.${at & 255}`] });
      const named = translated({ ...raw, spec: { nodeName: `n${at % 40}`, containers: [{ name: "main" }] } });
      if (named.piece.kind !== "Pod") throw new Error("no pod");
      const value = new Proxy(named.piece.value, {
        get: (target, field) => {
          looked.add(target.name);
          return Reflect.get(target, field);
        },
      });
      return { ...named, piece: { kind: "Pod", value } };
    };
    for (let at = 0; at < 800; at++) put(state, pod(at, at % 40));
    for (let service = 0; service < 40; service++) {
      put(
        state,
        translated(serviceObject(`s${service}`, { selector: { app: `app-${service}` }, ports: [{ port: 80 }] })),
      );
      const endpoints = Array.from({ length: 20 }, (_, at) => {
        const number = service + at * 40;
        const address = `10.0.${number >> 8}.${number & 255}`;
        return { addresses: [address], targetRef: { kind: "Pod", name: `pod-${number}` } };
      });
      const slice = { ports: [{ port: 8080 }], endpoints };
      put(state, translated(sliceObject(`slice-${service}`, `s${service}`, slice)));
    }
    state.flush();
    const change = (act: () => void): string[] => {
      looked.clear();
      act();
      state.flush();
      return [...looked];
    };
    return { state, pod, change };
  }

  const behind = (service: number) => Array.from({ length: 20 }, (_, at) => `pod-${service + at * 40}`);

  test("of a pod looks at no pods but those of its Services", () => {
    const { state, pod, change } = watched();
    expect(behind(7)).toEqual(expect.arrayContaining(change(() => put(state, pod(7, 7, { uid: "new" })))));
    const both = new Set([...behind(7), ...behind(8)]);
    for (const name of change(() => put(state, pod(7, 8)))) expect(both).toContain(name);
    for (const name of change(() => state.delete("shop", "pod-7", "Pod"))) expect(both).toContain(name);
  });

  test("that says nothing new of any object touches none", () => {
    const { state, pod } = watched();
    const shop = (team: string) =>
      translated({ apiVersion: "v1", kind: "Namespace", metadata: { name: "shop", labels: { team } } });
    put(state, shop("a"));
    state.flush();
    const applied = vi.spyOn(state.index, "apply");
    for (let at = 0; at < 800; at++) put(state, pod(at, at % 40));
    const ofService = { selector: { app: "app-9" }, ports: [{ port: 80 }] };
    put(state, translated(serviceObject("s9", ofService)));
    put(state, shop("b"));
    expect(state.flush()).toBeUndefined();
    const [[delta] = [{}]] = applied.mock.calls;
    expect([delta.workloads, delta.services, delta.localPods].map((list) => [...(list ?? [])].length)).toEqual([
      0, 0, 0,
    ]);
  });

  test("of a node's place looks at that node's pods, and of its heartbeat at none", () => {
    const { state, change } = watched();
    const moved = change(() => put(state, translated(nodeObject("n3", "east"))));
    expect(new Set(moved)).toEqual(new Set(behind(3)));
    expect(change(() => put(state, translated(nodeObject("n3", "east"))))).toEqual([]);
    expect(change(() => put(state, translated(nodeObject("n99", "east"))))).toEqual([]);
  });

  test("of a slice or of a Service's ports looks at the pods behind it, of a selector at the namespace's", () => {
    const { state, change } = watched();
    const slice = { ports: [{ port: 8080 }], endpoints: [] };
    for (const name of change(() => put(state, translated(sliceObject("slice-5", "s5", slice))))) {
      expect(behind(5)).toContain(name);
    }
    const service = (spec: Record<string, unknown>) => translated(serviceObject("s5", spec));
    const sameSelector = { selector: { app: "app-5" }, ports: [{ port: 81 }] };
    for (const name of change(() => put(state, service(sameSelector)))) expect(behind(5)).toContain(name);
    expect(change(() => put(state, service({ selector: { part: "shop" }, ports: [] }))).length).toBe(800);
  });
});
