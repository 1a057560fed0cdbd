import { describe, expect, test } from "vitest";
import { ClusterState } from "../../src/manifests/cluster-state.ts";
import { pieceKind, translate } from "../../src/manifests/translate/translate.ts";
import type { WorkloadUid } from "../../src/model/workload.ts";
import { settings } from "../mesh/build.ts";
import { framed, podObject, policyObject, serviceObject, sliceObject } from "./objects.ts";

/** A cluster that objects are put into and taken from, flushed after each. */
class Cluster {
  readonly state = new ClusterState(settings);

  put(...objects: Record<string, unknown>[]): this {
    for (const raw of objects) {
      const object = framed(raw);
      const kind = pieceKind(object.apiVersion, object.kind);
      if (kind === undefined) throw new Error(`no such kind: ${object.kind}`);
      const namespace = object.metadata.namespace ?? "";
      const translation = translate(kind, object, namespace);
      if (translation.kind !== "ok") throw new Error(JSON.stringify(translation));
      this.state.set(namespace, object.metadata.name, translation.value);
    }
    this.state.flush();
    return this;
  }

  endpoints(service: string, port: number): string[] | undefined {
    const { index } = this.state;
    const found = index.serviceByHostname("shop", `${service}.shop.svc.cluster.local`);
    if (found === undefined) throw new Error(`no such service: ${service}`);
    return index
      .endpoints(found, port)
      ?.map(({ address, targetPort, workload }) => `${address}:${targetPort} ${workload ?? "-"}`);
  }

  modeOf(pod: string): string | undefined {
    return this.state.index.workload(`c1//Pod/shop/${pod}` as WorkloadUid)?.tunnel;
  }
}

function namespace(labels: Record<string, string>): Record<string, unknown> {
  return { apiVersion: "v1", kind: "Namespace", metadata: { name: "shop", labels } };
}

const api = "c1//Pod/shop/api";

describe("enrolment", () => {
  test("follows the namespace's label whatever comes first, and its removal", () => {
    const cluster = new Cluster().put(podObject({ name: "api" }));
    expect(cluster.modeOf("api")).toBe("none");
    cluster.put(namespace({ "warren.dev/mode": "ambient" }));
    expect(cluster.modeOf("api")).toBe("hbone");
    expect([...cluster.state.index.localPods("n1")].map(({ name }) => name)).toEqual(["api"]);
    cluster.state.delete("", "shop", "Namespace");
    cluster.state.flush();
    expect(cluster.modeOf("api")).toBe("none");
    expect([...cluster.state.index.localPods("n1")]).toEqual([]);
  });

  test("a pod of the same name with another uid is another local pod", () => {
    const labels = { "warren.dev/mode": "ambient" };
    const cluster = new Cluster().put(podObject({ name: "db-0", labels, metadata: { uid: "one" } }));
    cluster.put(podObject({ name: "db-0", labels, metadata: { uid: "two" }, ips: ["10.0.0.2"] }));
    expect([...cluster.state.index.localPods("n1")]).toMatchObject([{ uid: "two", addresses: ["10.0.0.2"] }]);
  });

  test("a pod that finishes is no workload any more", () => {
    const cluster = new Cluster().put(podObject({ name: "job" }));
    cluster.put(podObject({ name: "job", phase: "Succeeded" }));
    expect(cluster.modeOf("job")).toBeUndefined();
    expect(cluster.state.index.workloadByAddress("10.0.0.1")).toBeUndefined();
  });
});

describe("endpoints from slices", () => {
  const service = serviceObject("api", {
    clusterIP: "10.96.0.1",
    selector: { app: "api" },
    ports: [{ name: "http", port: 80 }],
  });
  const ports = [{ name: "http", port: 8080 }];
  const pod = { targetRef: { kind: "Pod", name: "api" } };

  test("are those that are ready; unset means ready", () => {
    const endpoints = [
      { addresses: ["10.0.0.1"], ...pod },
      { addresses: ["10.0.0.2"], conditions: { ready: false } },
      { addresses: ["10.0.0.3"], conditions: { ready: true } },
    ];
    const cluster = new Cluster().put(service, sliceObject("api-1", "api", { ports, endpoints }));
    expect(cluster.endpoints("api", 80)).toEqual([`10.0.0.1:8080 ${api}`, "10.0.0.3:8080 -"]);
  });

  test("are those that still serve while terminating only when none is ready", () => {
    const draining = { addresses: ["10.0.0.2"], conditions: { ready: false, serving: true, terminating: true } };
    const ready = { addresses: ["10.0.0.1"] };
    const cluster = new Cluster().put(service, sliceObject("api-1", "api", { ports, endpoints: [draining, ready] }));
    expect(cluster.endpoints("api", 80)).toEqual(["10.0.0.1:8080 -"]);
    cluster.put(sliceObject("api-1", "api", { ports, endpoints: [draining] }));
    expect(cluster.endpoints("api", 80)).toEqual(["10.0.0.2:8080 -"]);
  });

  test("are chosen for each node by itself where clients take those of their own node alone", () => {
    const local = serviceObject("api", { internalTrafficPolicy: "Local", ports: [{ name: "http", port: 80 }] });
    const draining = (address: string, nodeName: string) => ({
      addresses: [address],
      conditions: { ready: false, serving: true, terminating: true },
      nodeName,
    });
    const endpoints = [
      draining("10.0.0.1", "n1"),
      { addresses: ["10.0.0.2"], nodeName: "n2" },
      draining("10.0.0.3", "n2"),
    ];
    const slice = sliceObject("api-1", "api", { ports, endpoints });
    expect(new Cluster().put(local, slice).endpoints("api", 80)).toEqual(["10.0.0.1:8080 -", "10.0.0.2:8080 -"]);
    expect(new Cluster().put(service, slice).endpoints("api", 80)).toEqual(["10.0.0.2:8080 -"]);
  });

  test("leave out a pod that has finished, though a slice still lists it", () => {
    const slice = sliceObject("api-1", "api", { ports, endpoints: [{ addresses: ["10.0.0.1"], ...pod }] });
    for (const phase of ["Succeeded", "Failed"]) {
      const labels = { app: "api" };
      const cluster = new Cluster().put(service, podObject({ name: "api", labels }), slice);
      expect(cluster.endpoints("api", 80)).toEqual([`10.0.0.1:8080 ${api}`]);
      expect(cluster.put(podObject({ name: "api", labels, phase })).endpoints("api", 80)).toEqual([]);
    }
  });

  test("include the unready when the Service publishes them", () => {
    const publishing = serviceObject("api", { publishNotReadyAddresses: true, ports: [{ name: "http", port: 80 }] });
    const endpoints = [{ addresses: ["10.0.0.2"], conditions: { ready: false } }];
    expect(new Cluster().put(publishing, sliceObject("s", "api", { ports, endpoints })).endpoints("api", 80)).toEqual([
      "10.0.0.2:8080 -",
    ]);
  });

  test("of several slices are put together without doubles, dual stack too", () => {
    const cluster = new Cluster().put(
      service,
      sliceObject("a", "api", { ports, endpoints: [{ addresses: ["10.0.0.1"] }] }),
      sliceObject("b", "api", { ports, endpoints: [{ addresses: ["10.0.0.1"] }, { addresses: ["10.0.0.2"] }] }),
      sliceObject("c", "api", { ports, addressType: "IPv6", endpoints: [{ addresses: ["fd00:0::1"] }] }),
    );
    expect(cluster.endpoints("api", 80)).toEqual(["10.0.0.1:8080 -", "10.0.0.2:8080 -", "fd00::1:8080 -"]);
    cluster.state.delete("shop", "b", "EndpointSlice");
    cluster.state.flush();
    expect(cluster.endpoints("api", 80)).toEqual(["10.0.0.1:8080 -", "fd00::1:8080 -"]);
  });

  test("of a Service without a selector count too, also when they come before it", () => {
    const cluster = new Cluster().put(
      sliceObject("a", "api", { ports: [{ port: 5432 }], endpoints: [{ addresses: ["203.0.113.1"] }] }),
    );
    cluster.put(serviceObject("api", { clusterIP: "10.96.0.1", ports: [{ port: 5432 }] }));
    expect(cluster.endpoints("api", 5432)).toEqual(["203.0.113.1:5432 -"]);
  });

  test("a slice without the port's name serves another port", () => {
    const cluster = new Cluster().put(
      service,
      sliceObject("a", "api", { ports: [{ name: "grpc", port: 9000 }], endpoints: [{ addresses: ["10.0.0.1"] }] }),
    );
    expect(cluster.endpoints("api", 80)).toEqual([]);
    expect(cluster.endpoints("api", 9000)).toBeUndefined();
  });

  test("UDP ports are no ports of the mesh", () => {
    const dns = serviceObject("dns", {
      clusterIP: "10.96.0.10",
      ports: [
        { name: "dns", port: 53, protocol: "UDP" },
        { name: "dns-tcp", port: 53 },
      ],
    });
    const cluster = new Cluster().put(
      dns,
      sliceObject("d", "dns", {
        ports: [
          { name: "dns", port: 5353, protocol: "UDP" },
          { name: "dns-tcp", port: 5300 },
        ],
        endpoints: [{ addresses: ["10.0.0.1"] }],
      }),
    );
    expect(cluster.endpoints("dns", 53)).toEqual(["10.0.0.1:5300 -"]);
  });
});

describe("endpoints where no controller writes slices", () => {
  const service = serviceObject("api", {
    clusterIP: "10.96.0.1",
    selector: { app: "api" },
    ports: [
      { name: "http", port: 80, targetPort: "web" },
      { name: "raw", port: 81 },
    ],
  });
  const spec = { containers: [{ name: "main", ports: [{ name: "web", containerPort: 8080 }] }] };

  test("come from the selector, each pod's own named port, and readiness", () => {
    const labels = { app: "api" };
    const cluster = new Cluster().put(
      service,
      podObject({ name: "api", labels, spec, ips: ["10.0.0.1", "fd00::1"] }),
      podObject({ name: "slow", labels, spec, ips: ["10.0.0.2"], ready: false }),
      podObject({ name: "nameless", labels, ips: ["10.0.0.3"] }),
      podObject({ name: "other", spec, ips: ["10.0.0.4"] }),
    );
    expect(cluster.endpoints("api", 80)).toEqual([`10.0.0.1:8080 ${api}`, `fd00::1:8080 ${api}`]);
    expect(cluster.endpoints("api", 81)).toEqual([
      `10.0.0.1:81 ${api}`,
      `fd00::1:81 ${api}`,
      "10.0.0.3:81 c1//Pod/shop/nameless",
    ]);
    cluster.put(podObject({ name: "slow", labels, spec, ips: ["10.0.0.2"] }));
    expect(cluster.endpoints("api", 80)).toContain("10.0.0.2:8080 c1//Pod/shop/slow");
    cluster.state.delete("shop", "slow", "Pod");
    cluster.state.flush();
    expect(cluster.endpoints("api", 80)).not.toContain("10.0.0.2:8080 c1//Pod/shop/slow");
  });

  test("are pods that terminate only while no other is ready, and the unready where the Service publishes them", () => {
    const labels = { app: "api" };
    const going = { labels, spec, metadata: { deletionTimestamp: "2026-01-01T00:00:00Z" } };
    const cluster = new Cluster().put(service, podObject({ name: "api", ...going }));
    expect(cluster.endpoints("api", 80)).toEqual([`10.0.0.1:8080 ${api}`]);
    cluster.put(podObject({ name: "next", labels, spec, ips: ["10.0.0.2"] }));
    expect(cluster.endpoints("api", 80)).toEqual(["10.0.0.2:8080 c1//Pod/shop/next"]);
    const [selector, named] = [{ app: "api" }, [{ name: "http", port: 80, targetPort: "web" }]];
    cluster.put(serviceObject("api", { selector, publishNotReadyAddresses: true, ports: named }));
    cluster.put(podObject({ name: "next", labels, spec, ips: ["10.0.0.2"], ready: false }));
    expect(cluster.endpoints("api", 80)?.length).toBe(2);
  });

  test("give way to the first slice", () => {
    const cluster = new Cluster().put(service, podObject({ name: "api", labels: { app: "api" }, spec }));
    cluster.put(sliceObject("a", "api", { ports: [{ name: "http", port: 1 }], endpoints: [] }));
    expect(cluster.endpoints("api", 80)).toEqual([]);
  });
});

describe("services", () => {
  test("headless ones have no address, ExternalName ones don't exist", () => {
    const { state } = new Cluster().put(serviceObject("db", { clusterIP: "None", ports: [{ port: 5432 }] }));
    expect(state.index.serviceByHostname("shop", "db.shop.svc.cluster.local")?.addresses).toEqual([]);
    const external = framed(serviceObject("out", { type: "ExternalName", externalName: "example.com" }));
    expect(translate("Service", external, "shop").kind).toBe("ignored");
  });

  test("have all their virtual IPs, and a load balancer's that nodes deliver themselves", () => {
    const raw = {
      ...serviceObject("api", {
        clusterIP: "10.96.0.1",
        clusterIPs: ["10.96.0.1", "fd00:96:0::1"],
        ports: [{ port: 80 }],
      }),
      status: {
        loadBalancer: { ingress: [{ ip: "192.0.2.1" }, { ip: "192.0.2.2", ipMode: "Proxy" }, { hostname: "x" }] },
      },
    };
    const { state } = new Cluster().put(raw);
    expect(state.index.serviceByAddress("192.0.2.1")?.addresses).toEqual(["10.96.0.1", "fd00:96::1", "192.0.2.1"]);
    expect(state.index.serviceByAddress("192.0.2.2")).toBeUndefined();
  });

  test("know all pods behind them, ready or not", () => {
    const { state } = new Cluster().put(
      serviceObject("api", { selector: { app: "api" }, ports: [{ port: 80 }] }),
      podObject({ name: "api", labels: { app: "api" }, ready: false }),
      podObject({ name: "by-ref", ips: ["10.0.0.2"] }),
      podObject({ name: "by-address", ips: ["10.0.0.3"] }),
      sliceObject("a", "api", {
        endpoints: [
          { addresses: ["10.0.0.2"], targetRef: { kind: "Pod", name: "by-ref" } },
          { addresses: ["10.0.0.3"] },
        ],
      }),
      {
        apiVersion: "security.istio.io/v1",
        kind: "AuthorizationPolicy",
        metadata: { name: "p", namespace: "shop" },
        spec: { targetRefs: [{ kind: "Service", name: "api" }] },
      },
    );
    const selected = [...state.index.workloads()].filter(
      (workload) => state.index.authorizationFor(workload).length > 0,
    );
    expect(selected.map(({ name }) => name)).toEqual(["api", "by-ref", "by-address"]);
  });
});

describe("settings", () => {
  test("a new trust domain, cluster and cluster domain reach everything", () => {
    const cluster = new Cluster().put(
      namespace({ "warren.dev/mode": "ambient" }),
      podObject({ name: "api" }),
      serviceObject("api", { ports: [] }),
    );
    cluster.state.setSettings({ ...settings, trustDomain: "corp.example", cluster: "c2", clusterDomain: "corp.local" });
    const { index } = cluster.state;
    expect([...index.workloads()]).toMatchObject([
      { uid: "c2//Pod/shop/api", identity: "spiffe://corp.example/ns/shop/sa/api" },
    ]);
    expect([...index.services()]).toMatchObject([{ hostname: "api.shop.svc.corp.local" }]);
    expect([...index.localPods("n1")]).toMatchObject([{ workload: "c2//Pod/shop/api" }]);
  });
});

describe("default deny of a namespace", () => {
  test("is a policy that allows nothing; a misspelt wish denies too", () => {
    for (const value of ["deny", "Deny"]) {
      const cluster = new Cluster().put(namespace({ "warren.dev/default-action": value }), podObject({ name: "api" }));
      const policies = [...cluster.state.index.authorizationPolicies()];
      expect(policies).toMatchObject([{ namespace: "shop", action: "ALLOW", rules: [] }]);
      cluster.put(namespace({}));
      expect([...cluster.state.index.authorizationPolicies()]).toEqual([]);
    }
  });
});

test("a mesh can be applied in parts, policies before pods before Services, and is the same in the end", () => {
  const { state } = new Cluster();
  const put = (raw: Record<string, unknown>) => {
    const object = framed(raw);
    const kind = pieceKind(object.apiVersion, object.kind) ?? "Pod";
    const translation = translate(kind, object, "shop");
    if (translation.kind === "ok") state.set("shop", object.metadata.name, translation.value);
  };
  put(serviceObject("api", { clusterIP: "10.96.0.1", ports: [{ port: 80 }] }));
  for (const name of ["a", "b", "c"]) put(podObject({ name, ips: [`10.0.0.${name.charCodeAt(0)}`] }));
  put(policyObject("PeerAuthentication", "default", { mtls: { mode: "STRICT" } }));
  const applied: object[] = [];
  state.index.onChange(({ peerAuthentications, workloads, services }) =>
    applied.push([peerAuthentications.size, workloads.size, services.size]),
  );
  expect([state.flushPart(2), state.flushPart(2), state.flushPart(2)]).toEqual([true, true, false]);
  expect(applied).toEqual([
    [1, 1, 0],
    [0, 2, 0],
    [0, 0, 1],
  ]);
  expect(state.flush()).toBeUndefined();
});
