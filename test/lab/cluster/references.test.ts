import { describe, expect, it } from "vitest";
import { Controllers } from "../../../src/lab/cluster/controllers.ts";
import { deploymentSchema } from "../../../src/lab/cluster/objects.ts";
import { findPod, parseReference } from "../../../src/lab/cluster/references.ts";
import { ObjectStore } from "../../../src/lab/cluster/store.ts";
import { objectOf, podOf } from "../objects.ts";

describe("parseReference", () => {
  it.each([
    ["api", { namespace: "production", kind: undefined, name: "api" }],
    ["deploy/api", { namespace: "production", kind: "deployment", name: "api" }],
    ["pod/api-1", { namespace: "production", kind: "pod", name: "api-1" }],
    ["outside/client", { namespace: "outside", kind: undefined, name: "client" }],
    ["outside/deployment/client", { namespace: "outside", kind: "deployment", name: "client" }],
    ["a/b/c", undefined],
    ["deploy/", undefined],
    ["", undefined],
  ])("reads %s", (text, expected) => {
    expect(parseReference(text, "production")).toEqual(expected);
  });
});

describe("findPod", () => {
  const store = new ObjectStore();
  store.put(podOf("lonely"));
  store.put(
    objectOf(
      deploymentSchema,
      `
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  selector: {matchLabels: {app: api}}
  template: {metadata: {labels: {app: api}}, spec: {containers: [{name: c, command: [serve]}]}}
`,
    ),
  );
  new Controllers({ store, event: () => {} }, { nodes: ["node-1"] }).reconcile();

  it("resolves a Deployment by owner", () => {
    for (const reference of ["deploy/api", "api", "production/deployment/api"])
      expect(findPod(store, reference, "production").metadata.labels).toMatchObject({ app: "api" });
  });

  it("resolves a pod by its name", () => {
    expect(findPod(store, "pod/lonely", "production").metadata.name).toBe("lonely");
  });

  it("names the pods there are when there is none", () => {
    expect(() => findPod(store, "deploy/lonely", "production")).toThrow(
      /no pod for deploy\/lonely.*production\/lonely/,
    );
    expect(() => findPod(store, "api", "outside")).toThrow(/in namespace outside/);
  });
});
