import { describe, expect, it } from "vitest";
import { endpointSlicesOf } from "../../../src/lab/cluster/endpoints.ts";
import { hostsFile } from "../../../src/lab/cluster/hosts-file.ts";
import { allocateAddresses } from "../../../src/lab/cluster/service-addresses.ts";
import { serviceRules } from "../../../src/lab/cluster/service-rules.ts";
import { serviceTargets } from "../../../src/lab/cluster/service-targets.ts";
import { podOf, runningPod, serviceOf } from "../objects.ts";

const dual = "ipFamilyPolicy: PreferDualStack";
const app = { app: "web" };

describe("allocateAddresses", () => {
  it.each([
    ["one family by default", "{}", ["10.96.0.10"], ["IPv4"]],
    ["both when preferred", `{${dual}}`, ["10.96.0.10", "fd00:10:96::a"], ["IPv4", "IPv6"]],
    ["IPv6 alone when asked", "{ipFamilies: [IPv6]}", ["fd00:10:96::a"], ["IPv6"]],
    ["IPv6 first when asked", `{ipFamilies: [IPv6], ${dual}}`, ["fd00:10:96::a", "10.96.0.10"], ["IPv6", "IPv4"]],
    [
      "the address that was asked for",
      `{clusterIP: 10.96.7.7, ${dual}}`,
      ["10.96.7.7", "fd00:10:96::a"],
      ["IPv4", "IPv6"],
    ],
    ["none for headless ones", `{clusterIP: None, ${dual}}`, ["None"], ["IPv4", "IPv6"]],
  ])("gives %s", (_, spec, clusterIPs, ipFamilies) => {
    expect(allocateAddresses(serviceOf(spec), new Set())?.spec).toMatchObject({ clusterIPs, ipFamilies });
  });

  it("passes over numbers that are taken in either family", () => {
    const service = allocateAddresses(serviceOf(`{${dual}}`), new Set(["10.96.0.10", "fd00:10:96::b"]));
    expect(service?.spec.clusterIPs).toEqual(["10.96.0.12", "fd00:10:96::c"]);
  });

  it("has nothing to do for a Service that has its addresses, or is a name for another host", () => {
    const done = allocateAddresses(serviceOf(`{${dual}}`), new Set());
    expect(done && allocateAddresses(done, new Set(done.spec.clusterIPs))).toBeUndefined();
    expect(allocateAddresses(serviceOf("{type: ExternalName}"), new Set())).toBeUndefined();
  });
});

describe("endpointSlicesOf", () => {
  const ports = "ports: [{name: http, port: 80, targetPort: http}]";

  it("makes a slice per family with the port that the pods' port name stands for", () => {
    const pod = runningPod("web-1", ["10.244.1.2", "fd00:10:244:1::2"], { labels: app });
    const slices = endpointSlicesOf(serviceOf(`{selector: {app: web}, ${dual}, ${ports}}`), [pod]);
    expect(slices.map(({ addressType, ports: of, endpoints }) => ({ addressType, of, endpoints }))).toEqual(
      [["IPv4", "10.244.1.2"] as const, ["IPv6", "fd00:10:244:1::2"] as const].map(([addressType, address]) => ({
        addressType,
        of: [{ name: "http", port: 8080, protocol: "TCP" }],
        endpoints: [
          {
            addresses: [address],
            conditions: { ready: true, serving: true, terminating: false },
            nodeName: "node-1",
            targetRef: { kind: "Pod", name: "web-1", namespace: "production", uid: "uid-of-web-1" },
          },
        ],
      })),
    );
  });

  it.each([
    ["a pod that is not ready", false, { ready: false }, false],
    ["a pod that is not ready, published on purpose", true, { ready: false }, true],
    ["a pod that is ready", false, { ready: true }, true],
  ])("says of %s if it takes connections", (_, publish, traits, expected) => {
    const service = serviceOf(`{selector: {app: web}, publishNotReadyAddresses: ${publish}, ${ports}}`);
    const [slice] = endpointSlicesOf(service, [runningPod("web-1", ["10.244.1.2"], { labels: app, ...traits })]);
    expect(slice?.endpoints[0]?.conditions?.ready).toBe(expected);
  });

  it("keeps a pod that is going, as not ready", () => {
    const pod = runningPod("web-1", ["10.244.1.2"], { labels: app });
    const going = { ...pod, metadata: { ...pod.metadata, deletionTimestamp: "2026-01-01T00:00:00Z" } };
    const [slice] = endpointSlicesOf(serviceOf(`{selector: {app: web}, ${ports}}`), [going]);
    expect(slice?.endpoints[0]?.conditions).toEqual({ ready: false, serving: true, terminating: true });
  });

  it("leaves out pods of other namespaces, other labels, without address", () => {
    const pods = [
      runningPod("a", ["10.244.1.2"], { labels: app, namespace: "other" }),
      runningPod("b", ["10.244.1.3"], { labels: { app: "else" } }),
      podOf("c", { labels: app }),
    ];
    const [slice] = endpointSlicesOf(serviceOf(`{selector: {app: web}, ${ports}}`), pods);
    expect(slice?.endpoints).toEqual([]);
  });

  it("splits pods that number a named port differently", () => {
    const one = runningPod("a", ["10.244.1.2"], { labels: app });
    const other = runningPod("b", ["10.244.1.3"], { labels: app });
    const renumbered = {
      ...other,
      spec: {
        ...other.spec,
        containers: other.spec.containers.map((container) => ({
          ...container,
          ports: container.ports.map((port) => ({ ...port, containerPort: 9090 })),
        })),
      },
    };
    const slices = endpointSlicesOf(serviceOf(`{selector: {app: web}, ${ports}}`), [one, renumbered]);
    expect(slices.map((slice) => [slice.ports[0]?.port, slice.endpoints[0]?.addresses[0]])).toEqual([
      [8080, "10.244.1.2"],
      [9090, "10.244.1.3"],
    ]);
    expect(new Set(slices.map((slice) => slice.metadata.name)).size).toBe(2);
  });

  it("makes none for a Service without a selector: its slices are written by hand", () => {
    expect(endpointSlicesOf(serviceOf(`{${ports}}`), [])).toEqual([]);
  });
});

describe("serviceRules", () => {
  const service = (spec: string) => {
    const allocated = allocateAddresses(serviceOf(spec), new Set());
    if (allocated === undefined) throw new Error("nothing allocated");
    return allocated;
  };
  const rulesOf = (spec: string, pods: Parameters<typeof endpointSlicesOf>[1]) => {
    const one = service(spec);
    return serviceRules(serviceTargets([one], endpointSlicesOf(one, pods)));
  };
  const pods = [
    runningPod("a", ["10.244.1.2", "fd00:10:244:1::2"], { labels: app }),
    runningPod("b", ["10.244.2.2", "fd00:10:244:2::2"], { labels: app }),
  ];

  it("lead each address and port to one of the ready endpoints of its family", () => {
    const rules = rulesOf(`{selector: {app: web}, ${dual}, ports: [{port: 80, targetPort: 8080}]}`, pods);
    expect(rules).toContain("ip daddr . meta l4proto . th dport vmap { 10.96.0.10 . tcp . 80 : goto target-0 }");
    expect(rules).toContain("dnat ip to numgen random mod 2 map { 0 : 10.244.1.2 . 8080, 1 : 10.244.2.2 . 8080 }");
    expect(rules).toContain("ip6 daddr . meta l4proto . th dport vmap { fd00:10:96::a . tcp . 80 : goto target-1 }");
    expect(rules).toContain("0 : fd00:10:244:1::2 . 8080");
  });

  it("masquerade only a pod that reaches itself", () => {
    const rules = rulesOf("{selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}", pods);
    expect(rules.match(/.*masquerade/g)).toEqual([
      "    ct status dnat ip saddr . ip daddr { 10.244.1.2 . 10.244.1.2, 10.244.2.2 . 10.244.2.2 } masquerade",
    ]);
  });

  it("refuse at once what has no ready endpoint", () => {
    const rules = rulesOf("{selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}", [
      runningPod("a", ["10.244.1.2"], { labels: app, ready: false }),
    ]);
    expect(rules).toContain("{ 10.96.0.10 . tcp . 80 } meta l4proto tcp reject with tcp reset");
    expect(rules).not.toContain("dnat ip to");
  });

  it("leave headless Services alone", () => {
    expect(rulesOf("{clusterIP: None, selector: {app: web}, ports: [{port: 80}]}", pods)).not.toContain("numgen");
  });
});

describe("hostsFile", () => {
  const web = (spec: string) => {
    const given = serviceOf(spec);
    return allocateAddresses(given, new Set()) ?? given;
  };
  const pod = runningPod("web-1", ["10.244.1.2"], { labels: app, spec: "hostname: one, subdomain: web" });

  it("gives Services all their names, short ones in their own namespace alone", () => {
    const objects = { pods: [], services: [web("{ports: [{port: 80}]}")], endpointSlices: [] };
    expect(hostsFile("production", objects)).toContain(
      "10.96.0.10 web web.production web.production.svc web.production.svc.cluster.local\n",
    );
    expect(hostsFile("outside", objects)).toContain(
      "10.96.0.10 web.production web.production.svc web.production.svc.cluster.local\n",
    );
  });

  it("resolves a headless Service to its ready pods, and to a pod by its hostname", () => {
    const service = web("{clusterIP: None, selector: {app: web}, ports: [{port: 80}]}");
    const late = runningPod("web-2", ["10.244.1.3"], { labels: app, ready: false });
    const pods = [pod, late];
    const text = hostsFile("outside", { pods, services: [service], endpointSlices: endpointSlicesOf(service, pods) });
    expect(text).toContain("10.244.1.2 web.production web.production.svc web.production.svc.cluster.local\n");
    expect(text).toContain(
      "10.244.1.2 one.web.production one.web.production.svc one.web.production.svc.cluster.local\n",
    );
    expect(text).not.toContain("10.244.1.3");
  });

  it("knows the pods of the namespace by name", () => {
    const objects = { pods: [pod], services: [], endpointSlices: [] };
    expect(hostsFile("production", objects)).toContain("10.244.1.2 one web-1\n");
    expect(hostsFile("outside", objects)).not.toContain("web-1");
  });
});
