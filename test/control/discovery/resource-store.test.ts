import { hash } from "node:crypto";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { expect, it } from "vitest";
import { ResourceStore } from "../../../src/control/discovery/resource-store.ts";
import { underName } from "../../../src/control/discovery/stored-resources.ts";
import {
  DeltaDiscoveryResponseSchema,
  ResourceSchema,
} from "../../../src/xds/gen/envoy/service/discovery/v3/discovery_pb.ts";
import { resourceTypes } from "../../../src/xds/resources/resource-types.ts";
import { Random } from "../../xds/resources/random.ts";

it.each([0, 1, 100, 127, 128, 16_000, 16_384, 65_400, 70_000, 2_100_000])(
  "stores a resource of %i bytes as the field that protobuf would write",
  (length) => {
    const store = new ResourceStore();
    const bytes = new Uint8Array(length).fill(7);
    const resource = { name: `Kubernetes//Pod/näme/${"x".repeat(120)}`, aliases: ["/10.0.0.1", "/fd00::1"], bytes };
    store.set("address", resource, "n1");
    const stored = store.get("address", resource.name);
    const version = hash("sha256", bytes, "base64url").slice(0, 16);
    expect([stored?.version, stored?.node, stored?.aliases]).toEqual([version, "n1", resource.aliases]);
    const { resources } = fromBinary(DeltaDiscoveryResponseSchema, stored?.frame ?? new Uint8Array());
    const any = create(AnySchema, { typeUrl: resourceTypes.address, value: bytes });
    const expected = create(ResourceSchema, { name: resource.name, version, aliases: resource.aliases, resource: any });
    expect(resources.map((one) => Buffer.from(toBinary(ResourceSchema, one)))).toEqual([
      Buffer.from(toBinary(ResourceSchema, expected)),
    ]);
    const other = underName(stored?.frame ?? new Uint8Array(), "/10.0.0.1");
    const [renamed] = fromBinary(DeltaDiscoveryResponseSchema, other).resources;
    expect(renamed && Buffer.from(toBinary(ResourceSchema, renamed))).toEqual(
      Buffer.from(toBinary(ResourceSchema, { ...expected, name: "/10.0.0.1" })),
    );
  },
);

it("knows each resource by its name and its other names through any changes", () => {
  const random = new Random(1);
  const store = new ResourceStore();
  const known = new Map<string, { readonly aliases: readonly string[]; readonly bytes: Uint8Array; node: string }>();
  for (let step = 0; step < 3000; step++) {
    const name = `r${random.below(20)}`;
    if (random.chance(3)) {
      store.delete("localPod", name);
      known.delete(name);
    } else {
      // A resource that changes in its aliases alone cannot be: they are in its bytes.
      const aliases = [...new Set([`a${random.below(6)}`, `a${random.below(6)}`])].slice(0, random.below(3));
      const content = Buffer.from(`${aliases.join()} ${random.below(3)} ${"y".repeat(random.below(2) * 70_000)}`);
      const node = `n${random.below(3)}`;
      store.set("localPod", { name, aliases, bytes: content }, node);
      known.set(name, { aliases, bytes: content, node });
    }
    for (let at = 0; at < 6; at++) {
      const named = [...known].filter(([, { aliases }]) => aliases.includes(`a${at}`)).map(([one]) => one);
      expect([...store.named("localPod", `a${at}`)].sort()).toEqual(named.sort());
    }
    const { node, aliases, frame } = store.get("localPod", name) ?? {};
    const expected = known.get(name);
    expect([node, aliases]).toEqual([expected?.node, expected?.aliases]);
    if (expected !== undefined) expect(Buffer.from(frame ?? []).includes(Buffer.from(expected.bytes))).toBe(true);
  }
  expect([...store.all("localPod").names()].sort()).toEqual([...known.keys()].sort());
  expect(store.all("localPod").size).toBe(known.size);
});

it("tells of nothing when a resource is as it was", () => {
  const store = new ResourceStore();
  const told: string[][] = [];
  store.onChange((change) => told.push([...(change.get("localPod") ?? [])]));
  for (const node of ["n1", "n1", "n2"]) {
    store.set("localPod", { name: "r", aliases: [], bytes: Uint8Array.of(1) }, node);
    store.flush();
  }
  store.delete("localPod", "nobody");
  store.flush();
  expect(told).toEqual([["r"], ["r"]]);
});
