import { create, fromBinary } from "@bufbuild/protobuf";
import { expect, it } from "vitest";
import { DiscoveryStream } from "../../../src/control/discovery/discovery-stream.ts";
import { ResourceStore } from "../../../src/control/discovery/resource-store.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import {
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from "../../../src/xds/gen/envoy/service/discovery/v3/discovery_pb.ts";
import { chunkedKey, type ResourceType, resourceTypes } from "../../../src/xds/resources/resource-types.ts";

const chunkBytes = 2000;

/** A stream and what it sent; it answers nothing by itself. */
function stream(chunked: boolean) {
  const store = new ResourceStore();
  const sent: DeltaDiscoveryResponse[] = [];
  const metrics = { discoveryResponse() {}, discoveryRejected() {} };
  const log = { warn() {} };
  const send = (bytes: Buffer) => void sent.push(fromBinary(DeltaDiscoveryResponseSchema, bytes));
  const failed = (error: unknown) => {
    throw error;
  };
  const deps = { store, clock: systemClock, metrics, log, send, failed };
  const of = new DiscoveryStream(deps, { node: "n1", peer: "p", chunkBytes });
  store.onChange((change) => of.changed([change]));
  const ask = (type: ResourceType, responseNonce = "") => {
    const node = { id: "x", metadata: chunked ? { [chunkedKey]: true } : {} };
    of.request(create(DeltaDiscoveryRequestSchema, { node, typeUrl: resourceTypes[type], responseNonce }));
  };
  const put = (type: ResourceType, count: number, content = 1) => {
    for (let at = 0; at < count; at++)
      store.set(type, { name: `r${at}`, aliases: [], bytes: new Uint8Array(50).fill(content) });
  };
  return { of, store, sent, ask, put };
}

it("tells a client that takes no parts all there is at once, made over several turns and as it is at the end", async () => {
  const { store, sent, ask, put } = stream(false);
  put("address", 500);
  ask("address");
  expect(sent).toEqual([]);
  // What changes meanwhile is in it once, and what went isn't.
  put("address", 3, 2);
  store.delete("address", "r7");
  store.set("address", { name: "late", aliases: [], bytes: Uint8Array.of(9) });
  store.flush();
  await expect.poll(() => sent.length).toBe(1);
  const { resources, removedResources, more } = sent[0] as DeltaDiscoveryResponse;
  const names = resources.map(({ name }) => name);
  expect([names.length, new Set(names).size, names.includes("r7"), names.includes("late")]).toEqual([
    500,
    500,
    false,
    true,
  ]);
  expect(resources.find(({ name }) => name === "r1")?.resource?.value[0]).toBe(2);
  expect([removedResources, more]).toEqual([["r7"], false]);
  put("address", 1, 3);
  store.flush();
  expect(sent.length).toBe(1);
  ask("address", sent[0]?.nonce);
  await expect.poll(() => sent[1]?.resources.map(({ name }) => name)).toEqual(["r0"]);
});

it("tells a client that comes back and lacks nothing just that, once all is looked at", async () => {
  const { of, store, sent, put } = stream(true);
  put("address", 5000);
  const held = [...store.all("address").values()].map(({ name, version }): [string, string] => [name, version]);
  const node = { id: "x", metadata: { [chunkedKey]: true } };
  const initialResourceVersions = Object.fromEntries(held);
  const typeUrl = resourceTypes.address;
  of.request(create(DeltaDiscoveryRequestSchema, { node, typeUrl, initialResourceVersions }));
  expect(sent).toEqual([]);
  await expect.poll(() => sent.length).toBe(1);
  expect(sent[0]).toMatchObject({ resources: [], removedResources: [], more: false });
});

it("sends nothing any more once it is closed", async () => {
  const { of, sent, ask, put } = stream(false);
  put("address", 500);
  ask("address");
  of.close();
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  expect(sent).toEqual([]);
});

it("lets workloads wait until the policies that they name are told", () => {
  const { sent, ask, put } = stream(true);
  put("authorization", 60);
  put("address", 1);
  ask("authorization");
  ask("address");
  for (let at = 0; sent.at(-1)?.typeUrl !== resourceTypes.address; at++) {
    expect(sent.length).toBe(at + 1);
    ask("authorization", sent[at]?.nonce);
  }
  const policies = sent.slice(0, -1);
  expect(policies.length).toBeGreaterThan(2);
  expect(policies.map(({ typeUrl, more }) => [typeUrl, more])).toEqual(
    policies.map((_, at) => [resourceTypes.authorization, at < policies.length - 1]),
  );
});
