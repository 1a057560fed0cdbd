import { describe, expect, test } from "vitest";
import { findService, portBehind } from "../../../src/cli/query/service-reference.ts";
import { checkNamespace, findWorkloads } from "../../../src/cli/query/workload-reference.ts";
import { mesh, service, workload } from "../../mesh/build.ts";

const api2 = workload("api-2", "10.0.0.2", { owner: { kind: "Deployment", name: "api" } });
const api1 = workload("api-1", "10.0.0.1", { owner: { kind: "Deployment", name: "api" } });
const behind = [{ workload: api1.uid, address: "10.0.0.1", targetPort: 8080 }];

const view = mesh({
  services: [service("api", ["10.96.0.1", "fd00:96::1"], { 80: behind }, [api1, api2]), service("empty", [], {})],
  workloads: [
    api2,
    api1,
    workload("v1.api", "10.0.0.3", { owner: { kind: "Pod", name: "v1.api" } }),
    workload("db-0", "10.0.0.4", { owner: { kind: "StatefulSet", name: "db" } }),
    workload("client", "10.0.0.5", { namespace: "outside", owner: { kind: "Pod", name: "client" } }),
  ],
});

describe("a reference", () => {
  test.each([
    ["deploy/api", ["api-1", "api-2"]],
    ["deployment/api", ["api-1", "api-2"]],
    ["api", ["api-1", "api-2"]],
    ["api.shop", ["api-1", "api-2"]],
    ["deploy/api.shop", ["api-1", "api-2"]],
    ["pod/api-1", ["api-1"]],
    ["api-1", ["api-1"]],
    ["v1.api", ["v1.api"]],
    ["sts/db", ["db-0"]],
    ["client.outside", ["client"]],
    ["pod/client.outside", ["client"]],
    ["svc/api", ["api-1", "api-2"]],
    ["service/api.shop", ["api-1", "api-2"]],
    ["10.0.0.4", ["db-0"]],
    ["10.96.0.1", ["api-1", "api-2"]],
    ["[fd00:96::1]", ["api-1", "api-2"]],
  ])("%s means %j", (text, names) => {
    expect(findWorkloads(view, text, "shop").map(({ name }) => name)).toEqual(names);
  });

  test.each([
    ["deploy/db", /no pod of deploy\/db in namespace shop; workloads in shop: .*db/],
    ["client", /no pod of client/],
    ["pod/api", /no pod of pod\/api/],
    ["thing/api", /names no workload: write pod\//],
    ["Bad Name", /names no workload/],
    [
      "x.nowhere",
      /in namespace shop or nowhere; workloads in nowhere: none; namespaces with workloads: outside, shop$/,
    ],
    ["svc/web", /no Service svc\/web in namespace shop; Services in shop: api, empty/],
    ["svc/empty", /no pod is behind Service shop\/empty/],
    ["10.0.0.99", /no pod and no Service of the mesh has the address 10\.0\.0\.99/],
  ])("%s is refused, saying what there is", (text, message) => {
    expect(() => findWorkloads(view, text, "shop")).toThrow(message);
  });
});

test("a Service's port is the one that it sends to a pod on, also to one that is not ready; a pod's port is its own", () => {
  const found = findService(view, "svc/api", "shop");
  expect([api1, api2].map((pod) => portBehind(view, found, pod, 80))).toEqual([8080, 8080]);
  expect(portBehind(view, findService(view, "deploy/api", "shop"), api1, 80)).toBe(80);
  expect(() => portBehind(view, found, api1, 8080)).toThrow("Service shop/api has no port 8080; it has: 80");
});

test("a namespace that nothing is in is refused, saying which there are", () => {
  expect(() => checkNamespace(view, "shop")).not.toThrow();
  expect(() => checkNamespace(view, "shopp")).toThrow(/is in namespace shopp; namespaces with any: outside, shop$/);
});
