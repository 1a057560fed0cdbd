import { describe, expect, test } from "vitest";
import { type Route, routeOutbound } from "../../src/routing/route.ts";
import { mesh, peerAuthentication, service, workload } from "../mesh/build.ts";

const api1 = workload("api-1", "10.0.0.1", { addresses: ["10.0.0.1", "fd00::1"] });
const api2 = workload("api-2", "10.0.0.2");
const legacy = workload("legacy", "10.0.0.3");
const outside = workload("outside", "10.0.0.4", { tunnel: "none" });
const onHost = workload("on-host", "", { addresses: [], hostNetwork: true, tunnel: "none" });

const view = mesh({
  workloads: [api1, api2, legacy, outside, onHost],
  peerAuthentications: [
    peerAuthentication({ mode: "STRICT" }),
    peerAuthentication({ name: "legacy", matchLabels: new Map([["app", "legacy"]]), mode: "DISABLE" }),
    peerAuthentication({
      name: "metrics",
      matchLabels: new Map([["app", "api-1"]]),
      portModes: new Map([[9090, "DISABLE"]]),
    }),
  ],
  services: [
    service("api", ["10.96.0.1", "fd00:96::1"], {
      80: [
        { workload: api1.uid, address: "10.0.0.1", targetPort: 8080 },
        { workload: api1.uid, address: "fd00::1", targetPort: 8080 },
        { workload: api2.uid, address: "10.0.0.2", targetPort: 8081, weight: 3 },
      ],
      81: [],
    }),
    service("v4-only", ["fd00:96::2"], { 80: [{ address: "10.0.0.2", targetPort: 8080 }] }),
    service("mixed", ["10.96.0.3"], {
      80: [
        { workload: api2.uid, address: "10.0.0.2", targetPort: 8080 },
        { workload: outside.uid, address: "10.0.0.4", targetPort: 8080 },
      ],
    }),
    service("host", ["10.96.0.4"], { 80: [{ workload: onHost.uid, address: "192.0.2.1", targetPort: 80 }] }),
    service("manual", ["10.96.0.5"], { 80: [{ address: "203.0.113.9", targetPort: 443 }] }),
    service("early", ["10.96.0.6"], {
      80: [{ workload: workload("unheard-of", "10.0.0.9").uid, address: "10.0.0.9", targetPort: 80 }],
    }),
    service("liar", ["10.96.0.7"], { 80: [{ workload: outside.uid, address: "10.0.0.1", targetPort: 80 }] }),
    service("loop", ["10.96.0.8"], { 80: [{ workload: api2.uid, address: "10.0.0.2", targetPort: 15008 }] }),
  ],
});

/** A route in one line: what a table can show. */
function show(route: Route): string {
  switch (route.kind) {
    case "refused":
      return `refused ${route.reason}`;
    case "pass-through":
      return `pass ${route.destination.address}:${route.destination.port}`;
    case "to":
      return route.targets
        .map((target) =>
          target.via === "hbone"
            ? `hbone ${target.peer.address}:${target.peer.port} ${target.authority} ${target.workload.name} x${target.weight}`
            : `plain ${target.destination.address}:${target.destination.port} ${target.workload?.name ?? "-"} x${target.weight}`,
        )
        .join(", ");
  }
}

describe("routeOutbound", () => {
  test.each([
    [
      "a virtual IP reaches all ready endpoints of its family by weight",
      "10.96.0.1",
      80,
      "hbone 10.0.0.1:15008 10.0.0.1:8080 api-1 x1, hbone 10.0.0.2:15008 10.0.0.2:8081 api-2 x3",
    ],
    ["an IPv6 virtual IP prefers IPv6 endpoints", "fd00:96::1", 80, "hbone fd00::1:15008 [fd00::1]:8080 api-1 x1"],
    [
      "an IPv6 virtual IP takes IPv4 endpoints if there are no others",
      "fd00:96::2",
      80,
      "hbone 10.0.0.2:15008 10.0.0.2:8080 api-2 x1",
    ],
    ["a port without endpoints is refused", "10.96.0.1", 81, "refused no-endpoint"],
    ["a port that the Service lacks is refused", "10.96.0.1", 8080, "refused unknown-service-port"],
    ["a pod address is reached through its tunnel", "10.0.0.2", 5432, "hbone 10.0.0.2:15008 10.0.0.2:5432 api-2 x1"],
    ["a pod outside the mesh gets plaintext", "10.0.0.4", 80, "plain 10.0.0.4:80 outside x1"],
    ["a DISABLE workload gets plaintext", "10.0.0.3", 80, "plain 10.0.0.3:80 legacy x1"],
    ["a DISABLE port gets plaintext", "10.0.0.1", 9090, "plain 10.0.0.1:9090 api-1 x1"],
    ["and its other ports do not", "10.0.0.1", 9091, "hbone 10.0.0.1:15008 10.0.0.1:9091 api-1 x1"],
    [
      "both kinds of endpoints may stand behind one Service",
      "10.96.0.3",
      80,
      "hbone 10.0.0.2:15008 10.0.0.2:8080 api-2 x1, plain 10.0.0.4:8080 outside x1",
    ],
    ["host-network endpoints get plaintext", "10.96.0.4", 80, "plain 192.0.2.1:80 on-host x1"],
    ["host-network pods by address pass through", "192.0.2.1", 80, "pass 192.0.2.1:80"],
    ["endpoints that are no pods get plaintext", "10.96.0.5", 80, "plain 203.0.113.9:443 - x1"],
    ["an unknown destination passes through", "198.51.100.7", 443, "pass 198.51.100.7:443"],
    ["an unknown IPv6 destination too", "2001:db8::7", 15008, "pass 2001:db8::7:15008"],
    [
      "a pod that is named but not known yet might be enrolled, so it is not used",
      "10.96.0.6",
      80,
      "refused no-endpoint",
    ],
    [
      "a slice cannot pass an enrolled address off as a pod outside the mesh",
      "10.96.0.7",
      80,
      "hbone 10.0.0.1:15008 10.0.0.1:80 api-1 x1",
    ],
    ["an enrolled pod's mesh ports are refused", "10.0.0.2", 15006, "refused illegal-port"],
    ["also as target port of a Service", "10.96.0.8", 80, "refused illegal-port"],
    ["also on loopback", "127.0.0.1", 15001, "refused illegal-port"],
    ["also where capture's own probes go", "192.0.2.1", 15001, "refused illegal-port"],
    ["a pod outside the mesh may use those ports", "10.0.0.4", 15008, "plain 10.0.0.4:15008 outside x1"],
  ] as const)("%s", (_name, address, port, expected) => {
    expect(show(routeOutbound(view, workload("client", "10.0.0.99"), { address, port }))).toBe(expected);
  });
});

test("of very many endpoints one client gets a bounded choice", () => {
  const pods = Array.from({ length: 100 }, (_, index) => workload(`p${index}`, `10.2.0.${index}`));
  const endpoints = pods.map(({ uid, addresses }) => ({ workload: uid, address: addresses[0] ?? "", targetPort: 80 }));
  const many = mesh({ workloads: pods, services: [service("many", ["10.96.1.1"], { 80: endpoints })] });
  const of = (client: string): string =>
    show(routeOutbound(many, workload(client, "10.2.1.1"), { address: "10.96.1.1", port: 80 }));
  expect(of("one").split(", ")).toHaveLength(32);
  expect(of("one")).toBe(of("one"));
  expect(of("one")).not.toBe(of("other"));
});

describe("near endpoints", () => {
  const at = (name: string, address: string, node: string, zone: string, region = "eu") =>
    workload(name, address, { node, locality: { region, zone } });
  const [a1, a2] = [at("a1", "10.0.1.1", "n1", "a"), at("a2", "10.0.1.2", "n2", "a")];
  const [b1, far] = [at("b1", "10.0.1.3", "n3", "b"), at("far", "10.0.1.4", "n4", "a", "us")];
  const zone = { scopes: ["region", "zone"], mode: "failover" } as const;
  const node = { scopes: ["region", "zone", "node"], mode: "failover" } as const;
  const local = { scopes: ["node"], mode: "strict" } as const;
  const names = (route: Route): string =>
    route.kind === "to" ? route.targets.map(({ workload: to }) => to?.name ?? "-").join(" ") : show(route);

  test.each([
    ["any endpoint where the Service wants nothing", undefined, "n1", "a", [a1, a2, b1, far], "a1 a2 b1 far"],
    ["those of the zone", zone, "n1", "a", [a1, a2, b1, far], "a1 a2"],
    ["those of the region where the zone has none", zone, "n9", "c", [a1, b1, far], "a1 b1"],
    ["all where nothing is near", zone, "n9", "c", [far], "far"],
    ["those of the node", node, "n1", "a", [a1, a2, b1], "a1"],
    ["those of the zone where the node has none", node, "n9", "a", [a1, a2, b1], "a1 a2"],
    ["only those of the node", local, "n1", "a", [a1, a2, b1], "a1"],
    ["nobody where the node has none", local, "n9", "a", [a1, a2, b1], "refused no-endpoint"],
  ] as const)("%s", (_name, traffic, clientNode, clientZone, endpoints, expected) => {
    const entry = service("near", ["10.96.0.9"], {
      80: endpoints.map(({ uid, addresses }) => ({ workload: uid, address: addresses[0] ?? "", targetPort: 80 })),
    });
    const near = mesh({
      workloads: endpoints,
      services: [{ ...entry, service: { ...entry.service, ...(traffic === undefined ? {} : { traffic }) } }],
    });
    const client = at("client", "10.0.1.9", clientNode, clientZone);
    expect(names(routeOutbound(near, client, { address: "10.96.0.9", port: 80 }))).toBe(expected);
  });

  test("endpoints that are no pods are nowhere: the last choice of a wish, and none under a promise", () => {
    const endpoints = { 80: [{ address: "203.0.113.9", targetPort: 80 }] };
    for (const [traffic, expected] of [
      [zone, "-"],
      [local, "refused no-endpoint"],
    ] as const) {
      const entry = service("near", ["10.96.0.9"], endpoints);
      const near = mesh({ workloads: [], services: [{ ...entry, service: { ...entry.service, traffic } }] });
      expect(names(routeOutbound(near, a1, { address: "10.96.0.9", port: 80 }))).toBe(expected);
    }
  });
});
