/** A large mesh in the agent: what a workload costs, and in how many steps a state is put in force. */
import { create, toBinary } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { compactHeap } from "../../../src/lib/compact-heap.ts";
import { DiscoveryState } from "../../../src/xds/client/discovery-state.ts";
import type { RawResponse } from "../../../src/xds/client/response-reader.ts";
import { ResourceSchema } from "../../../src/xds/gen/envoy/service/discovery/v3/discovery_pb.ts";
import { encodeAuthorizationPolicy } from "../../../src/xds/resources/policy.ts";
import { type NamedResource, type ResourceType, resourceTypes } from "../../../src/xds/resources/resource-types.ts";
import { encodeService } from "../../../src/xds/resources/service.ts";
import { encodeWorkload } from "../../../src/xds/resources/workload.ts";
import { authorizationPolicy, settings, workload } from "../../mesh/build.ts";

const replicas = 15;

function response(
  type: ResourceType,
  resources: readonly NamedResource[],
  removed: readonly string[] = [],
): RawResponse {
  const typeUrl = resourceTypes[type];
  const frames = resources.map(({ name, bytes }) =>
    toBinary(
      ResourceSchema,
      create(ResourceSchema, { name, version: "a-version-of-16-", resource: { typeUrl, value: bytes } }),
    ),
  );
  return { typeUrl, nonce: "", removed, resources: frames, more: false };
}

/** Deployments of 15 pods with the labels that pods have, each behind a Service. */
function deployments(from: number, to: number): NamedResource[] {
  const resources: NamedResource[] = [];
  for (let index = from; index < to; index++) {
    const name = `deployment-${index}`;
    const namespace = `namespace-${index % 100}`;
    const hostname = `${name}.${namespace}.svc.cluster.local`;
    for (let replica = 0; replica < replicas; replica++) {
      const number = index * replicas + replica;
      const address = `10.${number >> 16}.${(number >> 8) & 255}.${number & 255}`;
      const pod = workload(`${name}-7d9f8c6b5-${number.toString(36)}`, address, {
        namespace,
        serviceAccount: name,
        node: `node-${number % 5000}`,
        owner: { kind: "Deployment", name },
        canonicalName: name,
        labels: { app: name, "pod-template-hash": "7d9f8c6b5", "app.kubernetes.io/name": name },
      });
      const endpoint = { port: 80, targetPort: 8080, address, weight: 1 };
      resources.push(encodeWorkload(pod, new Map([[`${namespace}/${hostname}`, [endpoint]]])));
    }
    const addresses = [`10.96.${(index >> 8) & 255}.${index & 255}`];
    resources.push(
      encodeService({ name, namespace, hostname, addresses, ports: [{ name: "http", port: 80, appProtocol: "" }] }),
    );
  }
  return resources;
}

function bytesInUse(): number {
  compactHeap();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

describe("a large mesh", () => {
  it("costs a few hundred bytes for each workload, its part of a Service included, and gives them back", async () => {
    const state = new DiscoveryState(settings, "n1");
    await state.apply(response("address", deployments(0, 200)));
    const few = bytesInUse();
    for (let from = 200; from < 1800; from += 50) await state.apply(response("address", deployments(from, from + 50)));
    const many = bytesInUse();
    const added = 1600 * replicas;
    // Performance goal: 450, at 150 000 workloads; smaller meshes share less.
    expect((many - few) / added).toBeLessThan(600);
    expect([...state.index.workloads()].length).toBe(1800 * replicas);
    const names = [...state.versions("address")].map(([name]) => name);
    expect(names.length).toBe(1800 * (replicas + 1));
    await state.apply(response("address", [], names));
    expect(state.index.names.size).toBe(0);
    expect([...state.versions("address")]).toEqual([]);
  }, 300_000);

  it("puts many policies in force in parts: those that forbid first, those that go last", async () => {
    const state = new DiscoveryState(settings, "n1");
    const policies = (action: "ALLOW" | "DENY", prefix: string) =>
      Array.from({ length: 1000 }, (_, at) =>
        encodeAuthorizationPolicy(authorizationPolicy(action, [{}], { name: `${prefix}-${at}` })),
      );
    const old = policies("DENY", "old");
    await state.apply(response("policy", old));
    const seen: { changed: number; denying: number; allowing: number }[] = [];
    state.index.onChange(({ authorizationPolicies }) => {
      const actions = [...state.index.authorizationPolicies()].map(({ action }) => action);
      const denying = actions.filter((action) => action === "DENY").length;
      seen.push({ changed: authorizationPolicies.size, denying, allowing: actions.length - denying });
    });
    await state.apply(
      response(
        "policy",
        [...policies("ALLOW", "allow"), ...policies("DENY", "deny")],
        old.map(({ name }) => name),
      ),
    );
    expect(Math.max(...seen.map(({ changed }) => changed))).toBeLessThanOrEqual(250);
    expect(seen.every(({ denying, allowing }) => denying === 2000 || allowing === 0 || allowing === 1000)).toBe(true);
    expect(seen.at(-1)).toMatchObject({ denying: 1000, allowing: 1000 });
  });
});
