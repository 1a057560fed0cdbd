import { fromBinary } from "@bufbuild/protobuf";
import { expect, it } from "vitest";
import { ResourceStore } from "../../../src/control/discovery/resource-store.ts";
import { encodeResponse } from "../../../src/control/discovery/response-codec.ts";
import { type Batch, Subscription } from "../../../src/control/discovery/subscription.ts";
import { DeltaDiscoveryResponseSchema } from "../../../src/xds/gen/envoy/service/discovery/v3/discovery_pb.ts";
import type { ResourceType } from "../../../src/xds/resources/resource-types.ts";
import { Random } from "../../xds/resources/random.ts";

const nothing = { resourceNamesSubscribe: [], resourceNamesUnsubscribe: [], initialResourceVersions: {}, more: false };

/** A client that keeps to the protocol, by the versions that it has. */
class Held {
  readonly versions = new Map<string, string>();
  sent = 0;

  take({ frames, removed }: Batch): void {
    const head = { typeUrl: "", nonce: "", version: "", more: false };
    const { resources } = fromBinary(
      DeltaDiscoveryResponseSchema,
      encodeResponse({ ...head, frames: frames.values(), removed }),
    );
    for (const { name, version } of resources) this.versions.set(name, version);
    for (const name of removed) this.versions.delete(name);
    this.sent += resources.length;
  }
}

it.each<[ResourceType, string]>([
  ["address", ""],
  ["localPod", "n1"],
])("a client of all of %s ends with what there is for it, through changes, parts and returns", (type, node) => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = new Random(seed);
    const store = new ResourceStore();
    const held = new Held();
    let subscription: Subscription | undefined;
    const forget = store.onChange((change) => subscription?.changed(change.get(type) ?? new Set()));
    for (let step = 0; step < 200; step++) {
      const name = `r${random.below(25)}`;
      if (random.chance(3)) store.delete(type, name);
      else {
        const home = node === "" ? "" : random.one([node, node, "n2"]);
        store.set(type, { name, aliases: [], bytes: Uint8Array.of(random.below(3)) }, home);
      }
      if (random.chance(2)) store.flush();
      if (random.chance(20)) subscription = undefined;
      if (subscription === undefined && random.chance(3)) {
        subscription = new Subscription(store, type, { node: "n1" });
        // What is held is said in two requests.
        const [first, second] = [...held.versions].reduce<[[string, string][], [string, string][]]>(
          (halves, one, at) => {
            halves[at % 2]?.push(one);
            return halves;
          },
          [[], []],
        );
        subscription.request({ ...nothing, initialResourceVersions: Object.fromEntries(first), more: true });
        expect(subscription.take(1)).toBeUndefined();
        subscription.request({ ...nothing, initialResourceVersions: Object.fromEntries(second) });
      }
      const batch = random.chance(2) ? subscription?.take(random.below(200)) : undefined;
      if (batch !== undefined) held.take(batch);
    }
    store.flush();
    if (subscription === undefined) {
      subscription = new Subscription(store, type, { node: "n1" });
      subscription.request({ ...nothing, initialResourceVersions: Object.fromEntries(held.versions) });
    }
    for (let batch = subscription.take(50); batch !== undefined; batch = subscription.take(50)) held.take(batch);
    const there = [...store.all(type).values()].filter((one) => one.node === node);
    expect(held.versions, `seed ${seed}`).toEqual(new Map(there.map(({ name, version }) => [name, version])));
    forget();
  }
});

it("keeps no name of what a client of everything has, and sends it nothing twice", () => {
  const store = new ResourceStore();
  for (let at = 0; at < 1000; at++)
    store.set("address", { name: `r${at}`, aliases: [], bytes: Uint8Array.of(at & 255) });
  const subscription = new Subscription(store, "address", { node: "n1" });
  const held = new Held();
  subscription.request(nothing);
  for (let batch = subscription.take(2000); batch !== undefined; batch = subscription.take(2000)) held.take(batch);
  expect(held.sent).toBe(1000);
  expect(subscription.status).toEqual({ wildcard: true, names: 0, resources: 1000, pending: 0 });
  const back = new Subscription(store, "address", { node: "n1" });
  back.request({ ...nothing, initialResourceVersions: Object.fromEntries(held.versions) });
  expect(back.take(2000)).toEqual({ frames: new Map(), removed: [], more: false });
  expect(back.take(2000)).toBeUndefined();
});

it("ends what it said would go on, also when the last part was full to the byte", () => {
  const store = new ResourceStore();
  for (const name of ["a", "b"]) store.set("address", { name, aliases: [], bytes: Uint8Array.of(1) });
  const subscription = new Subscription(store, "address", { node: "n1" });
  subscription.request(nothing);
  expect(subscription.take(1)).toMatchObject({ more: true });
  expect(subscription.take(1)).toMatchObject({ more: true });
  expect(subscription.take(1)).toEqual({ frames: new Map(), removed: [], more: false });
  expect(subscription.take(1)).toBeUndefined();
});

it("looks at what a client has in parts, and tells what is gone at the end", () => {
  const store = new ResourceStore();
  for (let at = 0; at < 5000; at++)
    store.set("address", { name: `r${at}`, aliases: [], bytes: Uint8Array.of(at & 255) });
  const versions = Object.fromEntries([...store.all("address").values()].map(({ name, version }) => [name, version]));
  const subscription = new Subscription(store, "address", { node: "n1" });
  subscription.request({ ...nothing, initialResourceVersions: { ...versions, gone: "x", went: "y" } });
  store.delete("address", "r4999");
  const taken: Batch[] = [];
  for (let batch = subscription.take(1e9); batch !== undefined; batch = subscription.take(1e9)) taken.push(batch);
  expect(taken.map(({ frames, more }) => [frames.size, more])).toEqual([
    [0, true],
    [0, true],
    [0, false],
  ]);
  expect(taken.flatMap(({ removed }) => removed).sort()).toEqual(["gone", "r4999", "went"]);
});

it("sends every client the same bytes: a resource is encoded once, however many want it", () => {
  const store = new ResourceStore();
  store.set("address", { name: "r", aliases: ["/10.0.0.1"], bytes: Uint8Array.of(1) });
  const [all, named] = [
    new Subscription(store, "address", { node: "n1" }),
    new Subscription(store, "address", { node: "n2" }),
  ];
  all.request(nothing);
  named.request({ ...nothing, resourceNamesSubscribe: ["/10.0.0.1"] });
  const memory = (bytes: Uint8Array | undefined) => [bytes?.buffer, bytes?.byteOffset, bytes?.length];
  const frame = memory(store.get("address", "r")?.frame);
  expect(frame[2]).toBeGreaterThan(0);
  for (const subscription of [all, named]) expect(memory(subscription.take(2000)?.frames.get("r"))).toEqual(frame);
});

it("sends with what was asked for all that stands behind it, as that comes and goes", () => {
  const store = new ResourceStore();
  const behind = new Map<string, string[]>();
  store.relate("address", {
    members: (name) => behind.get(name) ?? [],
    owners: (name) => [...behind].flatMap(([owner, members]) => (members.includes(name) ? [owner] : [])),
  });
  let content = 0;
  const put = (name: string, ...aliases: string[]) =>
    store.set("address", { name, aliases, bytes: Uint8Array.of(content++) });
  const subscription = new Subscription(store, "address", { node: "n1" });
  store.onChange((change) => subscription.changed(change.get("address") ?? new Set()));
  const taken = () => {
    store.flush();
    const batch = subscription.take(2000);
    return batch && [[...batch.frames.keys()].sort(), [...batch.removed].sort()];
  };
  for (const name of ["a", "b", "other"]) put(name);
  subscription.request({ ...nothing, resourceNamesSubscribe: ["*"], resourceNamesUnsubscribe: ["*"] });
  expect(taken()).toEqual([[], []]);
  // Nobody has it yet.
  subscription.request({ ...nothing, resourceNamesSubscribe: ["/10.96.0.1"] });
  expect(taken()).toEqual([[], ["/10.96.0.1"]]);
  put("service", "/10.96.0.1");
  behind.set("service", ["a"]);
  expect(taken()).toEqual([["a", "service"], []]);
  put("other");
  expect(taken()).toBeUndefined();
  behind.set("service", ["a", "b"]);
  put("b");
  expect(taken()).toEqual([["b"], []]);
  behind.set("service", ["b"]);
  put("a");
  expect(taken()).toEqual([[], ["a"]]);
  put("a");
  expect(taken()).toBeUndefined();
  // Asked for by its own name as well, it stays when the Service is not asked for any more.
  subscription.request({ ...nothing, resourceNamesSubscribe: ["b"], resourceNamesUnsubscribe: ["/10.96.0.1"] });
  expect(taken()).toEqual([["b"], []]);
  put("service", "/10.96.0.1");
  put("b");
  expect(taken()).toEqual([["b"], []]);
});
