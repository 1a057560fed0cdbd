import { describe, expect, test } from "vitest";
import { findWorkloads } from "../../../src/cli/query/workload-reference.ts";
import { mesh, workload } from "../../mesh/build.ts";

const view = mesh({
  workloads: [
    workload("api-2", "10.0.0.2", { owner: { kind: "Deployment", name: "api" } }),
    workload("api-1", "10.0.0.1", { owner: { kind: "Deployment", name: "api" } }),
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
  ])("%s means %j", (text, names) => {
    expect(findWorkloads(view, text, "shop").map(({ name }) => name)).toEqual(names);
  });

  test.each([
    ["deploy/db", /no pod of deploy\/db in namespace shop; workloads in shop: .*db/],
    ["client", /no pod of client/],
    ["pod/api", /no pod of pod\/api/],
    ["thing/api", /names no workload: write pod\//],
    ["Bad Name", /names no workload/],
    ["x.nowhere", /in namespace shop or nowhere; workloads in nowhere: none/],
  ])("%s is refused, saying what there is", (text, message) => {
    expect(() => findWorkloads(view, text, "shop")).toThrow(message);
  });
});
