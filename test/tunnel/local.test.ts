import { describe, expect, test } from "vitest";
import type { MeshDelta } from "../../src/mesh/mesh-index.ts";
import type { MeshSettings } from "../../src/model/mesh.ts";
import type { NetworkPolicy } from "../../src/model/network-policy.ts";
import type { LocalPod } from "../../src/model/workload.ts";
import type { LocalPods } from "../../src/tunnel/local.ts";
import { decideOutbound } from "../../src/tunnel/outbound.ts";
import { authorizationPolicy, identity, localPod, mesh, peerAuthentication, service, workload } from "../mesh/build.ts";
import { api, show, socket, web } from "./verdicts.ts";

const webPod = localPod(web, { addresses: ["10.0.0.1", "fd00::1"] });
const apiPod = localPod(api);
const joined = "deliver 10.0.1.1:8080 as 10.0.0.1 on destination";
const tunnelled = "carry 10.0.1.1:15008/10.0.1.1:8080/spiffe://cluster.local/ns/shop/sa/api on destination";

function podsOf(pods: readonly LocalPod[], unproven: readonly string[] = []): LocalPods {
  return {
    pod: (uid) => pods.find(({ workload: of }) => of === uid),
    proven: (id) => !unproven.includes(id),
  };
}

interface Case {
  readonly delta?: MeshDelta;
  readonly settings?: Partial<MeshSettings>;
  readonly pods?: LocalPods;
  readonly client?: LocalPod;
  readonly to?: string;
}

function decide({ delta = {}, settings = {}, pods, client = webPod, to = "10.0.1.1:8080" }: Case): string {
  const view = mesh({ workloads: [web, api], networkPolicies: [], ...delta }, { localTraffic: "auto", ...settings });
  return show(decideOutbound(view, client, socket(to), 0, pods ?? podsOf([webPod, apiPod])));
}

function networkPolicy(labels: Record<string, string>, namespace = "shop"): MeshDelta {
  const policy: NetworkPolicy = { name: "np", namespace, matchLabels: new Map(Object.entries(labels)) };
  return { networkPolicies: [policy] };
}

const allow = (peer: string) => ({
  authorizationPolicies: [
    authorizationPolicy("ALLOW", [{ from: [{ principals: [`cluster.local/ns/shop/sa/${peer}`] }] }]),
  ],
});

describe("a connection between two captured pods", () => {
  test.each<[string, Case, string]>([
    ["joins them", {}, joined],
    ["keeps the address family", { to: "fd00:1::1:8080" }, "deliver fd00:1::1:8080 as fd00::1 on destination"],
    ["stays in the tunnel unless asked for", { settings: { localTraffic: "mtls" } }, tunnelled],
    ["needs the server captured", { pods: podsOf([webPod]) }, tunnelled],
    [
      "needs the server's own address",
      { pods: podsOf([webPod, localPod(api, { addresses: ["10.0.1.9"] })]) },
      tunnelled,
    ],
    [
      "needs the server's own identity",
      { pods: podsOf([webPod, localPod(api, { identity: identity("shop", "x") })]) },
      tunnelled,
    ],
    ["needs the client's certificate", { pods: podsOf([webPod, apiPod], [web.identity]) }, tunnelled],
    ["needs the server's certificate", { pods: podsOf([webPod, apiPod], [api.identity]) }, tunnelled],
    [
      "needs the client's identity to be current",
      { client: { ...webPod, identity: identity("shop", "x") } },
      tunnelled,
    ],
    ["needs an address of the family", { client: { ...webPod, addresses: ["fd00::1"] } }, tunnelled],
    [
      "asks the server's policy, which names itself",
      { delta: allow("web") },
      joined.replace(" on", " by shop/allow on"),
    ],
    ["leaves refusing to the tunnel's far end", { delta: allow("other") }, tunnelled],
    [
      "leaves requests to the tunnel's far end",
      { delta: { authorizationPolicies: [authorizationPolicy("ALLOW", [{ to: [{ methods: ["GET"] }] }])] } },
      tunnelled,
    ],
    ["is no plaintext to STRICT", { delta: { peerAuthentications: [peerAuthentication({ mode: "STRICT" })] } }, joined],
    [
      "goes as plaintext over the network where DISABLE says so",
      { delta: { peerAuthentications: [peerAuthentication({ mode: "DISABLE" })] } },
      "leave 10.0.1.1:8080 as itself on destination",
    ],
    ["leaves a denied identity to the tunnel", { settings: { deniedIdentities: [web.identity] } }, tunnelled],
    ["gives way to a NetworkPolicy on the server", { delta: networkPolicy({ app: "api" }) }, tunnelled],
    ["gives way to a NetworkPolicy on the client", { delta: networkPolicy({ app: "web" }) }, tunnelled],
    ["gives way to a NetworkPolicy on the whole namespace", { delta: networkPolicy({}) }, tunnelled],
    ["ignores NetworkPolicies on others", { delta: networkPolicy({ app: "other" }) }, joined],
    ["ignores NetworkPolicies elsewhere", { delta: networkPolicy({}, "elsewhere") }, joined],
    [
      "gives way while nobody knows the NetworkPolicies",
      { delta: { networkPolicies: undefined } as unknown as MeshDelta },
      tunnelled,
    ],
    ["to the pod itself is joined too", { client: apiPod }, "deliver 10.0.1.1:8080 as 10.0.1.1 on destination"],
  ])("%s", (_name, given, expected) => {
    expect(decide(given)).toBe(expected);
  });

  test("of several endpoints one is drawn by weight, whatever way it is reached", () => {
    const far = workload("far", "10.0.2.1");
    const other = workload("other", "10.0.1.2");
    const view = mesh(
      {
        workloads: [web, api, far, other],
        networkPolicies: [],
        services: [
          service("all", ["10.96.0.1"], {
            80: [
              { workload: api.uid, address: "10.0.1.1", targetPort: 8080, weight: 1 },
              { workload: far.uid, address: "10.0.2.1", targetPort: 8080, weight: 2 },
              { workload: other.uid, address: "10.0.1.2", targetPort: 8080, weight: 1 },
            ],
          }),
        ],
      },
      { localTraffic: "auto" },
    );
    const pods = podsOf([webPod, apiPod, localPod(other)]);
    const drawn = [0, 0.2, 0.3, 0.4, 0.6, 0.99].map((draw) =>
      show(decideOutbound(view, webPod, socket("10.96.0.1:80"), draw, pods)).replace(/ as .*|\/.*/, ""),
    );
    expect(drawn).toEqual([
      "deliver 10.0.1.1:8080",
      "deliver 10.0.1.1:8080",
      "deliver 10.0.1.2:8080",
      "deliver 10.0.1.2:8080",
      "carry 10.0.2.1:15008",
      "carry 10.0.2.1:15008",
    ]);
    expect(show(decideOutbound(view, webPod, socket("10.96.0.1:80"), 0, pods))).toMatch(/on chance$/);
  });
});
