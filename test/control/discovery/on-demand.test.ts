/**
 * On-demand discovery as ztunnel uses it. What the scripted client does is what ztunnel was seen to do: it asks by any name whenever it
 * misses something, waits without end for a resource of that very name or its removal, keeps the version of every name that it was told,
 * drops a workload by its uid alone, and comes back with all of that and nothing else.
 */
import { fromBinary } from "@bufbuild/protobuf";
import { expect, it } from "vitest";
import { ResourceStore } from "../../../src/control/discovery/resource-store.ts";
import { encodeResponse } from "../../../src/control/discovery/response-codec.ts";
import { type SubscribedClient, Subscription } from "../../../src/control/discovery/subscription.ts";
import { DeltaDiscoveryResponseSchema } from "../../../src/xds/gen/envoy/service/discovery/v3/discovery_pb.ts";
import { Random } from "../../xds/resources/random.ts";

const nobody = {
  resourceNamesSubscribe: ["*"],
  resourceNamesUnsubscribe: ["*"],
  initialResourceVersions: {},
  more: false,
};
const ztunnel: SubscribedClient = { node: "n1", nodeProxy: true, ztunnel: true };

/** Workloads and one Service, as the mesh puts them into the store. */
class Mesh {
  readonly store = new ResourceStore();
  readonly members = new Map<string, string[]>();
  #content = 0;

  constructor() {
    this.store.relate("address", {
      members: (name) => this.members.get(name) ?? [],
      owners: (name) => [...this.members].flatMap(([owner, members]) => (members.includes(name) ? [owner] : [])),
    });
  }

  put(name: string, node: string, ...aliases: string[]): this {
    const bytes = Buffer.from(`${node} ${aliases.join()} ${this.#content++}`);
    this.store.set("address", { name, aliases, bytes }, node);
    return this;
  }

  drop(name: string): this {
    this.store.delete("address", name);
    return this;
  }
}

class ScriptedClient {
  readonly #mesh: Mesh;
  readonly #who: SubscribedClient;
  #subscription: Subscription;
  /** What it says that it has when it comes back; of what it waits for, no version. */
  readonly known = new Map<string, string>();
  readonly awaited = new Set<string>();
  /** What is in its tables, by the resource's own name. */
  readonly cache = new Map<string, string>();

  constructor(mesh: Mesh, who: SubscribedClient) {
    this.#mesh = mesh;
    this.#who = who;
    // What is there already nobody is told of as a change.
    mesh.store.flush();
    this.#subscription = this.#begin();
    mesh.store.onChange((change) => this.#subscription.changed(change.get("address") ?? new Set()));
  }

  #begin(): Subscription {
    const subscription = new Subscription(this.#mesh.store, "address", this.#who);
    subscription.request({ ...nobody, initialResourceVersions: Object.fromEntries(this.known) });
    return subscription;
  }

  comeBack(): void {
    this.#mesh.store.flush();
    this.#subscription = this.#begin();
  }

  /** Whether it finds something by this name in its tables, and so needs not ask. */
  has(name: string): boolean {
    return (
      this.cache.has(name) ||
      [...this.cache.values()].some((content) => content.split(" ")[1]?.split(",").includes(name))
    );
  }

  get names(): number {
    return this.#subscription.status.names;
  }

  ask(...names: string[]): void {
    for (const name of names) {
      this.awaited.add(name);
      if (!this.known.has(name)) this.known.set(name, "");
    }
    const fields = { resourceNamesUnsubscribe: [], initialResourceVersions: {}, more: false };
    this.#subscription.request({ ...fields, resourceNamesSubscribe: names });
  }

  unsubscribe(...names: string[]): void {
    const fields = { resourceNamesSubscribe: [], initialResourceVersions: {}, more: false };
    this.#subscription.request({ ...fields, resourceNamesUnsubscribe: names });
  }

  /** Takes all there is to take; undefined when nothing was sent. */
  take(limit = 1e6): { readonly told: string[]; readonly removed: string[] } | undefined {
    this.#mesh.store.flush();
    const told: string[] = [];
    const removed: string[] = [];
    let any = false;
    for (let batch = this.#subscription.take(limit); batch !== undefined; batch = this.#subscription.take(limit)) {
      any = true;
      const head = { typeUrl: "", nonce: "", version: "", more: false };
      const message = encodeResponse({ ...head, removed: batch.removed, frames: batch.frames.values() });
      const { resources, removedResources } = fromBinary(DeltaDiscoveryResponseSchema, message);
      expect(new Set(resources.map(({ name }) => name)).size).toBe(resources.length);
      for (const { name, version, resource } of resources) {
        told.push(name);
        this.known.set(name, version);
        this.awaited.delete(name);
        // A workload goes into the tables under the uid that it says itself, whatever it came under.
        const own = [...this.#mesh.store.named("address", name)][0] ?? name;
        this.cache.set(own, Buffer.from(resource?.value ?? []).toString());
      }
      for (const name of removedResources) {
        removed.push(name);
        this.known.delete(name);
        this.awaited.delete(name);
        this.cache.delete(name);
      }
    }
    return any ? { told: told.sort(), removed: removed.sort() } : undefined;
  }
}

function shop(): Mesh {
  const mesh = new Mesh();
  mesh.put("pod/a", "n1", "/10.0.0.1").put("pod/b", "n2", "/10.0.0.2", "/fd00::2").put("pod/c", "n2", "/10.0.0.3");
  mesh.members.set("ns/shop.svc", ["pod/b", "pod/c"]);
  return mesh.put("ns/shop.svc", "", "/10.96.0.1").put("pod/d", "n2", "/10.0.0.4");
}

const ordinary: SubscribedClient = { node: "n1" };
const agent: SubscribedClient = { node: "n1", nodeProxy: true };

it.each<[string, SubscribedClient, string[], { told: string[]; removed: string[] }]>([
  ["of a ztunnel, nothing: its node's workloads", ztunnel, [], { told: ["pod/a"], removed: [] }],
  ["of a client of no node's, nothing: nothing", ordinary, [], { told: [], removed: [] }],
  ["by uid", ztunnel, ["pod/b"], { told: ["pod/b"], removed: [] }],
  ["by address, under that too", ztunnel, ["/10.0.0.2"], { told: ["/10.0.0.2", "pod/b"], removed: [] }],
  ["by its other address", ztunnel, ["/fd00::2"], { told: ["/fd00::2", "pod/b"], removed: [] }],
  ["by address, of who knows aliases", agent, ["/10.0.0.2"], { told: ["pod/b"], removed: [] }],
  [
    "by hostname, with all behind it",
    ztunnel,
    ["ns/shop.svc"],
    { told: ["ns/shop.svc", "pod/b", "pod/c"], removed: [] },
  ],
  [
    "by virtual address, with all behind it",
    ztunnel,
    ["/10.96.0.1"],
    { told: ["/10.96.0.1", "ns/shop.svc", "pod/b", "pod/c"], removed: [] },
  ],
  [
    "by virtual address, of who knows aliases",
    ordinary,
    ["/10.96.0.1"],
    { told: ["ns/shop.svc", "pod/b", "pod/c"], removed: [] },
  ],
  ["what nobody has", ztunnel, ["/203.0.113.1"], { told: [], removed: ["/203.0.113.1"] }],
  ["what nobody has, of who knows aliases", ordinary, ["/203.0.113.1"], { told: [], removed: ["/203.0.113.1"] }],
  ["in another network than there is", ztunnel, ["net/10.0.0.2"], { told: [], removed: ["net/10.0.0.2"] }],
  [
    "one by several names, and one that is not there",
    ztunnel,
    ["/10.0.0.2", "pod/b", "/fd00::2", "pod/x"],
    { told: ["/10.0.0.2", "/fd00::2", "pod/b"], removed: ["pod/x"] },
  ],
])("answers %s", (_what, who, names, expected) => {
  const client = new ScriptedClient(shop(), who);
  const first = client.take();
  // Also where there is nothing to say: a first response is waited for.
  expect(first).toEqual({ told: who.nodeProxy === true ? ["pod/a"] : [], removed: [] });
  if (names.length === 0) return expect(first).toEqual(expected);
  client.ask(...names);
  expect(client.take()).toEqual(expected);
  expect([...client.awaited]).toEqual(who.ztunnel === true || expected.told.length === 0 ? [] : names);
  expect(client.take()).toBeUndefined();
});

it("follows what was asked for by address: its changes, its end, and who comes after it", () => {
  const mesh = shop();
  const client = new ScriptedClient(mesh, ztunnel);
  client.ask("/10.0.0.2");
  client.take();
  mesh.put("pod/b", "n2", "/10.0.0.2");
  expect(client.take()).toEqual({ told: ["pod/b"], removed: [] });
  mesh.put("pod/d", "n2", "/10.0.0.4").put("pod/c", "n2", "/10.0.0.3");
  expect(client.take()).toBeUndefined();
  mesh.drop("pod/b");
  expect(client.take()).toEqual({ told: [], removed: ["pod/b"] });
  mesh.put("pod/e", "n2", "/10.0.0.2");
  expect(client.take()).toEqual({ told: ["pod/e"], removed: [] });
  // One goes while the other, of the same address, is there already.
  mesh.put("pod/f", "n2", "/10.0.0.2").drop("pod/e");
  expect(client.take()).toEqual({ told: ["pod/f"], removed: ["pod/e"] });
  client.ask("/10.0.0.2");
  expect(client.take()).toEqual({ told: ["/10.0.0.2", "pod/f"], removed: [] });
  expect([...client.cache.keys()].sort()).toEqual(["pod/a", "pod/f"]);
  client.unsubscribe("/10.0.0.2");
  mesh.drop("pod/f");
  expect(client.take()).toBeUndefined();
});

it("tells of a node's workloads as they come, change, move and go, and of no other's", () => {
  const mesh = new Mesh();
  const client = new ScriptedClient(mesh, ztunnel);
  expect(client.take()).toEqual({ told: [], removed: [] });
  mesh.put("pod/a", "").put("pod/b", "n2");
  expect(client.take()).toBeUndefined();
  mesh.put("pod/a", "n1").put("pod/b", "n2");
  expect(client.take()).toEqual({ told: ["pod/a"], removed: [] });
  mesh.put("pod/a", "n1", "/10.0.0.1").put("pod/b", "n1");
  expect(client.take()).toEqual({ told: ["pod/a", "pod/b"], removed: [] });
  mesh.put("pod/a", "n2", "/10.0.0.1").drop("pod/b");
  expect(client.take()).toEqual({ told: [], removed: ["pod/a", "pod/b"] });
});

it("tells of a node's workloads also where the first request names others", () => {
  const { store } = shop();
  const subscription = new Subscription(store, "address", agent);
  subscription.request({ ...nobody, resourceNamesSubscribe: ["pod/d"], resourceNamesUnsubscribe: [] });
  expect([...(subscription.take(1e6)?.frames.keys() ?? [])].sort()).toEqual(["pod/a", "pod/d"]);
});

it("goes on telling of a node's workloads when everything is not asked for any more, and of nothing else", () => {
  const mesh = shop();
  const client = new ScriptedClient(mesh, agent);
  client.take();
  client.ask("*");
  expect(client.take()?.told).toEqual(["ns/shop.svc", "pod/a", "pod/b", "pod/c", "pod/d"]);
  client.unsubscribe("*");
  client.take();
  mesh.put("pod/b", "n2", "/10.0.0.2").put("pod/e", "n1").drop("pod/a").drop("pod/c");
  expect(client.take()).toEqual({ told: ["pod/e"], removed: ["pod/a"] });
  mesh.put("pod/a", "n1");
  expect(client.take()).toEqual({ told: ["pod/a"], removed: [] });
});

it("keeps no name that means nothing, for a ztunnel asks again, and keeps it for others", () => {
  for (const who of [ztunnel, agent]) {
    const mesh = shop();
    const client = new ScriptedClient(mesh, who);
    client.take();
    for (let at = 0; at < 300; at++) {
      client.ask(`/198.51.100.${at}`);
      expect(client.take()).toEqual({ told: [], removed: [`/198.51.100.${at}`] });
    }
    expect(client.names).toBe(who === ztunnel ? 0 : 300);
    mesh.put("pod/new", "n2", "/198.51.100.7");
    expect(client.take()).toEqual(who === ztunnel ? undefined : { told: ["pod/new"], removed: [] });
    client.ask("/198.51.100.7");
    const told = who === ztunnel ? ["/198.51.100.7", "pod/new"] : ["pod/new"];
    expect(client.take()).toEqual({ told, removed: [] });
  }
});

it("says that there is something when it came before the answer went out", () => {
  for (const who of [ztunnel, agent]) {
    const mesh = shop();
    const client = new ScriptedClient(mesh, who);
    client.take();
    client.ask("/10.0.0.9");
    mesh.put("pod/new", "n2", "/10.0.0.9");
    const told = who === ztunnel ? ["/10.0.0.9", "pod/new"] : ["pod/new"];
    expect(client.take()).toEqual({ told, removed: [] });
  }
});

it("goes on for a ztunnel that comes back where it was: what is new, what is gone, what it waits for", () => {
  const mesh = shop();
  const client = new ScriptedClient(mesh, ztunnel);
  client.ask("/10.0.0.2", "/10.96.0.1");
  client.take();
  client.comeBack();
  // It may be waiting under any of its other names.
  expect(client.take()).toEqual({ told: ["/10.0.0.2", "/10.96.0.1"], removed: [] });
  // It waits for these when its stream ends; one of them it is told of already, by another name.
  client.ask("/10.0.0.4", "/203.0.113.1", "/fd00::2", "pod/d");
  mesh.put("pod/c", "n2", "/10.0.0.3").drop("pod/b").put("pod/g", "n1");
  mesh.members.set("ns/shop.svc", ["pod/c", "pod/g"]);
  client.comeBack();
  expect(client.take()).toEqual({
    told: ["/10.0.0.4", "/10.96.0.1", "pod/c", "pod/d", "pod/g"],
    removed: ["/10.0.0.2", "/203.0.113.1", "/fd00::2", "pod/b"],
  });
  expect([...client.awaited]).toEqual([]);
  expect([...client.cache.keys()].sort()).toEqual(["ns/shop.svc", "pod/a", "pod/c", "pod/d", "pod/g"]);
  // What it had is followed.
  mesh.put("pod/d", "n2", "/10.0.0.4");
  expect(client.take()).toEqual({ told: ["pod/d"], removed: [] });
  mesh.drop("ns/shop.svc").drop("pod/d");
  expect(client.take()).toEqual({ told: [], removed: ["ns/shop.svc", "pod/d"] });
  // Of the names beside their own it is told when it comes back.
  client.comeBack();
  expect(client.take()).toEqual({ told: [], removed: ["/10.0.0.4", "/10.96.0.1"] });
});

it("leaves no demand unanswered and nothing stale in a ztunnel's tables, through any changes, parts and returns", () => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = new Random(seed);
    const mesh = new Mesh();
    const client = new ScriptedClient(mesh, ztunnel);
    const addresses = ["/10.0.0.1", "/10.0.0.2", "/10.0.0.3", "/10.0.0.4"];
    for (let step = 0; step < 150; step++) {
      const name = `pod/${random.below(8)}`;
      const fate = random.below(9);
      if (fate < 3) mesh.drop(name);
      else if (fate < 5) mesh.put(name, random.one(["n1", "n2", ""]), random.one(addresses));
      if (random.chance(8)) {
        mesh.members.set("ns/s", [`pod/${random.below(8)}`, `pod/${random.below(8)}`]);
        for (const member of mesh.members.get("ns/s") ?? []) {
          const had = mesh.store.get("address", member);
          if (had !== undefined) mesh.put(member, had.node, ...had.aliases);
        }
        if (random.chance(3)) mesh.drop("ns/s");
        else mesh.put("ns/s", "", "/10.96.0.1");
      }
      const asked = random.one([...addresses, "/10.96.0.1", "ns/s", name, "/203.0.113.1"]);
      if (!client.has(asked)) client.ask(asked);
      if (random.chance(12)) client.comeBack();
      if (random.chance(2)) client.take(random.below(200));
    }
    client.take();
    expect([...client.awaited], `seed ${seed}`).toEqual([]);
    const bytes = (name: string) => {
      const { frame } = mesh.store.get("address", name) ?? {};
      const [resource] = fromBinary(DeltaDiscoveryResponseSchema, frame ?? new Uint8Array()).resources;
      return resource && Buffer.from(resource.resource?.value ?? []).toString();
    };
    for (const [name, held] of client.cache) expect(bytes(name), `seed ${seed} ${name}`).toEqual(held);
    for (const { name, node } of mesh.store.all("address").values())
      if (node === "n1") expect(client.cache.has(name), `seed ${seed} ${name}`).toBe(true);
    // Once it has come back, whatever it knows is there to be known.
    client.comeBack();
    client.take();
    for (const name of client.known.keys())
      expect([...mesh.store.named("address", name)], `seed ${seed} ${name}`).not.toEqual([]);
  }
});
