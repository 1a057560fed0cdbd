/** What label an enrolment needs, and when it is refused, through the API's double: the same objects that control would read. */
import { describe, expect, onTestFinished, test } from "vitest";
import { targetOf } from "../../../src/cli/enroll.ts";
import { planChange } from "../../../src/cli/query/change-enrolment.ts";
import type { EnrollableObject } from "../../../src/cli/query/cluster-objects.ts";
import { kubernetesObjects } from "../../../src/cli/query/kubernetes-objects.ts";
import type { ApiCall, KubernetesApi } from "../../../src/control/kubernetes/api.ts";

const label = "warren.dev/mode";
const signal = new AbortController().signal;

interface World {
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly spec?: object;
  readonly metadata?: object;
}

/** One namespace with one object of each kind, and the patches that were sent. */
function cluster({ namespace, labels = {}, spec = {}, metadata = {} }: World = {}) {
  const patches: Pick<ApiCall, "path" | "body">[] = [];
  const pod = { metadata: { ...metadata, labels }, spec: { containers: [{ name: "app" }], ...spec } };
  const api: KubernetesApi = {
    call: async ({ method, path, body }) => {
      if (method === "PATCH") patches.push({ path, ...(body === undefined ? {} : { body }) });
      if (/^\/api\/v1\/namespaces\/shop$/.test(path))
        return { metadata: { name: "shop", labels: namespace === undefined ? {} : { [label]: namespace } } };
      if (path.endsWith("/pods/api")) return { ...pod, metadata: { ...pod.metadata, name: "api", namespace: "shop" } };
      return { metadata: { name: "api", namespace: "shop" }, spec: { template: pod } };
    },
    watch: async () => {},
  };
  return { objects: kubernetesObjects(api, "warren-system"), patches };
}

const deployment = targetOf("deploy/api.shop", "default");
const pod = targetOf("pod/api", "shop");

describe("enrolment", () => {
  test.each<[string, World, EnrollableObject, "captured" | "released", object]>([
    ["a Deployment that nothing enrols", {}, deployment, "captured", { change: { mode: "ambient" } }],
    ["one that its namespace enrols", { namespace: "ambient" }, deployment, "captured", { change: undefined }],
    [
      "one that opts out",
      { namespace: "ambient", labels: { [label]: "none" } },
      deployment,
      "captured",
      { change: { mode: "ambient" } },
    ],
    [
      "one in an enrolled namespace, out",
      { namespace: "ambient" },
      deployment,
      "released",
      { change: { mode: "none" } },
    ],
    [
      "one by its own label, out",
      { labels: { [label]: "ambient" } },
      deployment,
      "released",
      { change: { mode: undefined } },
    ],
    ["one that is not in, out", {}, deployment, "released", { change: undefined }],
    ["a StatefulSet", {}, targetOf("sts/api.shop", "default"), "captured", { change: { mode: "ambient" } }],
    ["a pod", {}, pod, "captured", { change: { mode: "ambient" }, notes: [] }],
    [
      "a pod that others will take the place of",
      { metadata: { ownerReferences: [{ kind: "ReplicaSet", name: "api-1", controller: true }] } },
      pod,
      "captured",
      { notes: [expect.stringContaining("ReplicaSet api-1 makes pods without this label") as string] },
    ],
    [
      "what is on the host's network",
      { spec: { hostNetwork: true } },
      deployment,
      "captured",
      {
        refusal: expect.stringMatching(
          /^deploy\/api\.shop can't be in the mesh: it is on its node's network/,
        ) as string,
      },
    ],
    [
      "what has a sidecar",
      { spec: { containers: [{ name: "istio-proxy" }] } },
      pod,
      "captured",
      { refusal: expect.stringContaining("another mesh's sidecar") as string },
    ],
  ])("of %s", async (_what, world, object, wanted, expected) => {
    expect(await planChange(cluster(world).objects, object, wanted, signal)).toMatchObject(expected);
  });

  test.each([
    [
      deployment,
      "/apis/apps/v1/namespaces/shop/deployments/api",
      { spec: { template: { metadata: { labels: { [label]: "none" } } } } },
    ],
    [pod, "/api/v1/namespaces/shop/pods/api", { metadata: { labels: { [label]: "none" } } }],
  ])("%#: labels the template of what makes pods, and the pod itself", async (object, path, body) => {
    const { objects, patches } = cluster();
    onTestFinished(() => void patches.splice(0));
    await objects.setMode(object, "none", signal);
    expect(patches).toEqual([{ path, body }]);
  });
});
