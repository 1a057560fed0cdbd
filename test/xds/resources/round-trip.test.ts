import { create, toBinary } from "@bufbuild/protobuf";
import { describe, expect, it, test } from "vitest";
import { AddressSchema, TunnelProtocol, WorkloadSchema } from "../../../src/xds/gen/istio/workload/workload_pb.ts";
import { PolicySchema } from "../../../src/xds/gen/warren/policy/v1/policy_pb.ts";
import { decodeAddress } from "../../../src/xds/resources/address.ts";
import { decodeLocalPod, encodeLocalPod } from "../../../src/xds/resources/local-pod.ts";
import {
  closedPolicy,
  decodePolicy,
  encodeAuthorizationPolicy,
  encodePeerAuthentication,
} from "../../../src/xds/resources/policy.ts";
import { InvalidResource } from "../../../src/xds/resources/resource-types.ts";
import { encodeService } from "../../../src/xds/resources/service.ts";
import { decodeSettings, encodeSettings } from "../../../src/xds/resources/settings.ts";
import {
  encodeExternalEndpoint,
  encodeWorkload,
  type MemberEndpoint,
  type Memberships,
} from "../../../src/xds/resources/workload.ts";
import { workload } from "../../mesh/build.ts";
import { Random } from "./random.ts";

/** Endpoints of a Service are a set. */
function sorted(memberships: Memberships): unknown {
  const texts = ({ port, targetPort, address, weight }: MemberEndpoint) => `${port} ${targetPort} ${address} ${weight}`;
  return new Map([...memberships].map(([key, list]) => [key, new Set(list.map(texts))]));
}

describe("the wire brings back what the model said", () => {
  const seeds = Array.from({ length: 300 }, (_, index) => index + 1);

  test("workloads and what they are to Services", () => {
    for (const seed of seeds) {
      const random = new Random(seed);
      const original = random.workload();
      const memberships = random.memberships(original);
      const { name, bytes } = encodeWorkload(original, memberships);
      const decoded = decodeAddress(name, bytes);
      if (decoded.kind !== "workload") throw new Error(`seed ${seed}: ${decoded.kind}`);
      expect(decoded.workload, `seed ${seed}`).toEqual(original);
      expect(sorted(decoded.memberships), `seed ${seed}`).toEqual(sorted(memberships));
      expect(decoded.healthy).toBe(original.ready);
      // Where it takes no tunnels, that is how Istio's clients are told; ours know better.
      const closed = decodeAddress(name, encodeWorkload(original, memberships, [], false).bytes);
      expect(closed.kind === "workload" && closed.workload, `seed ${seed}`).toEqual(original);
    }
  });

  test("Services, local pods, settings", () => {
    for (const seed of seeds) {
      const random = new Random(seed);
      const [service, pod, settings] = [random.service(), random.localPod(), random.settings()];
      const one = encodeService(service);
      expect(decodeAddress(one.name, one.bytes), `seed ${seed}`).toEqual({
        kind: "service",
        service,
        onlyHealthy: false,
      });
      expect(decodeLocalPod(pod.uid, encodeLocalPod(pod).bytes), `seed ${seed}`).toEqual(pod);
      expect(decodeSettings("mesh", encodeSettings(settings).bytes), `seed ${seed}`).toEqual(settings);
    }
  });

  test("policies whole", () => {
    for (const seed of seeds) {
      const random = new Random(seed);
      const [authorization, authentication] = [random.authorizationPolicy(), random.peerAuthentication()];
      const one = encodeAuthorizationPolicy(authorization);
      expect(decodePolicy(one.name, one.bytes), `seed ${seed}`).toEqual({
        kind: "AuthorizationPolicy",
        policy: authorization,
      });
      const other = encodePeerAuthentication(authentication);
      expect(decodePolicy(other.name, other.bytes), `seed ${seed}`).toEqual({
        kind: "PeerAuthentication",
        policy: authentication,
      });
    }
  });

  test("endpoints that are no pods", () => {
    const endpoints = [{ port: 80, targetPort: 8080, address: "192.168.1.9", weight: 1 }];
    const service = { namespace: "shop", name: "legacy", key: "shop/legacy.shop.svc" };
    const { name, bytes, aliases } = encodeExternalEndpoint("Kubernetes", service, "192.168.1.9", endpoints);
    expect(aliases).toEqual([]);
    expect(decodeAddress(name, bytes)).toMatchObject({
      kind: "external",
      uid: "Kubernetes/discovery.k8s.io/EndpointSlice/shop/legacy/192.168.1.9",
      memberships: new Map([["shop/legacy.shop.svc", endpoints]]),
    });
  });
});

describe("aliases", () => {
  it("are the addresses that things can be asked for by", () => {
    expect(encodeWorkload(workload("web", "10.0.0.1")).aliases).toEqual(["/10.0.0.1"]);
    expect(encodeWorkload(workload("web", "10.0.0.1", { hostNetwork: true, addresses: [] })).aliases).toEqual([]);
  });
});

describe("a resource that cannot be right", () => {
  const wire = (fields: object) =>
    toBinary(
      AddressSchema,
      create(AddressSchema, {
        type: { case: "workload", value: create(WorkloadSchema, { uid: "u", name: "n", namespace: "ns", ...fields }) },
      }),
    );

  test.each<[string, () => unknown, RegExp]>([
    ["has no uid", () => decodeAddress("", wire({ uid: "" })), /uid is empty/],
    ["bears another's name", () => decodeAddress("x", wire({})), /is named "x" and says that it is u/],
    [
      "has half an address",
      () => decodeAddress("u", wire({ addresses: [Uint8Array.of(1, 2)] })),
      /4 or 16 bytes, not 2/,
    ],
    [
      "wants a tunnel that nobody here speaks",
      () => decodeAddress("u", wire({ tunnelProtocol: TunnelProtocol.LEGACY_ISTIO_MTLS })),
      /neither NONE nor HBONE/,
    ],
    ["has an account that is no name", () => decodeAddress("u", wire({ serviceAccount: "a/b" })), /not a SPIFFE id/],
    ["has a namespace with a slash", () => decodeAddress("u", wire({ namespace: "a/b" })), /is not a name/],
    [
      "sends a port to nowhere",
      () => decodeAddress("u", wire({ services: { "a/b": { ports: [{ servicePort: 80, targetPort: 70_000 }] } } })),
      /70000 is not a port/,
    ],
    ["is a workload of no Service", () => decodeAddress("u", wire({ services: { web: {} } })), /is not a Service/],
    ["is nothing", () => decodeAddress("u", new Uint8Array()), /neither a workload nor a Service/],
    [
      "is a policy without a kind that is known",
      () =>
        decodePolicy(
          "AuthorizationPolicy/a/b",
          toBinary(PolicySchema, create(PolicySchema, { name: "b", namespace: "a" })),
        ),
      /newer control plane/,
    ],
    ["is settings of another name", () => decodeSettings("other", new Uint8Array()), /there is one/],
    ["is settings without a trust domain", () => decodeSettings("mesh", new Uint8Array()), /not a trust domain/],
  ])("%s: refused", (_what, decode, message) => {
    expect(decode).toThrow(InvalidResource);
    expect(decode).toThrow(message);
  });

  it("refuses on behalf of a policy that could not be read", () => {
    expect(closedPolicy("AuthorizationPolicy/shop/p", "why")).toMatchObject({
      policy: { action: "DENY", namespace: "shop", problems: ["why"], matchLabels: undefined },
    });
    expect(closedPolicy("PeerAuthentication/shop/p", "why")).toMatchObject({ policy: { mode: "STRICT" } });
    expect(closedPolicy("Unknown/shop/p", "why")).toBeUndefined();
  });
});
