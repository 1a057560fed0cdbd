import { expect, test } from "vitest";
import { serviceOf } from "../../src/routing/service-of.ts";
import { mesh, service, workload } from "../mesh/build.ts";

const api = workload("api", "10.0.0.1");
const entry = (name: string, port: number, targetPort: number) =>
  service(name, [], { [port]: [{ workload: api.uid, address: "10.0.0.1", targetPort }] }, [api]);

const view = mesh({
  workloads: [api],
  services: [entry("api", 80, 8080), entry("admin", 80, 9090), entry("metrics", 81, 9090)],
});

test.each([
  ["the one Service that sends there", 8080, "api"],
  ["nobody when two do", 9090, undefined],
  ["nobody when none does", 80, undefined],
])("a connection is told under %s", (_name, port, name) => {
  expect(serviceOf(view, api, { address: "10.0.0.1", port })?.name).toBe(name);
});

test("a Service that the pod left is not asked", () => {
  const left = mesh({ workloads: [api], services: [entry("api", 80, 8080)] });
  left.apply({ services: [service("api", [], { 80: [] })] });
  expect([...left.servicesOf(api)]).toEqual([]);
});
