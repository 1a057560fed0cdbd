import { expect, test } from "vitest";
import { baggageOf } from "../../src/tunnel/baggage.ts";
import { workload } from "../mesh/build.ts";

test.each([
  [
    "Deployment",
    "k8s.cluster.name=c1,k8s.namespace.name=shop,k8s.deployment.name=api,service.name=api,service.version=latest",
  ],
  [
    "CronJob",
    "k8s.cluster.name=c1,k8s.namespace.name=shop,k8s.cronjob.name=api,service.name=api,service.version=latest",
  ],
  [
    "StatefulSet",
    "k8s.cluster.name=c1,k8s.namespace.name=shop,k8s.pod.name=api,service.name=api,service.version=latest",
  ],
])("a %s is told as %s", (kind, baggage) => {
  expect(baggageOf(workload("api", "10.0.0.1", { owner: { kind, name: "api" } }))).toBe(baggage);
});

test("values that would break the header are left out", () => {
  const odd = workload("api", "10.0.0.1", { cluster: "a,b=c\r\nx: y", canonicalRevision: "" });
  expect(baggageOf(odd)).toBe("k8s.namespace.name=shop,k8s.deployment.name=api,service.name=api");
});
