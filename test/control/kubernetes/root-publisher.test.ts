import { describe, expect, test } from "vitest";
import {
  RootPublisher,
  rootConfigMap,
  rootKey,
  rootPublisherDefaults,
} from "../../../src/control/kubernetes/root-publisher.ts";
import { type Cluster, clusterKinds, clusterTimeout, startApiServer } from "../../support/kubernetes-api/cluster.ts";
import { clientOf, quick, stopLater, until } from "./support.ts";

type Reached = { readonly url: string; readonly root: string; readonly adminToken: string };

async function publisher(cluster: Reached) {
  const now = { roots: "root A" };
  const deps = await clientOf(cluster);
  const made = stopLater(
    new RootPublisher(
      { ...deps, roots: () => now.roots },
      { ...rootPublisherDefaults, namespace: "default", backoff: quick.backoff, reflector: quick },
    ),
  );
  return { publisher: made, now, log: deps.log };
}

const configMap = (data: Record<string, string>) => ({
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name: rootConfigMap, namespace: "default" },
  data,
});

const published = async (cluster: Pick<Cluster, "get">) =>
  (await cluster.get("v1", "ConfigMap", "default", rootConfigMap))?.["data"];

describe.each(clusterKinds)("against $name, the roots are published", clusterTimeout, ({ start }) => {
  test("once, and again when they change, when somebody edits them, and when somebody deletes them", async () => {
    const cluster = await start();
    const { publisher: publishing, now } = await publisher(cluster);
    publishing.start();
    await expect.poll(() => published(cluster), until).toEqual({ [rootKey]: "root A" });
    now.roots = "root A, root B";
    publishing.changed();
    await expect.poll(() => published(cluster), until).toEqual({ [rootKey]: "root A, root B" });
    await cluster.apply(configMap({ [rootKey]: "root of a stranger", note: "kept" }));
    await expect.poll(() => published(cluster), until).toEqual({ [rootKey]: "root A, root B", note: "kept" });
    await cluster.delete("v1", "ConfigMap", "default", rootConfigMap);
    await expect.poll(() => published(cluster), until).toEqual({ [rootKey]: "root A, root B" });
  });
});

test("what is right already is not written", async () => {
  const server = await startApiServer();
  server.apply(configMap({ [rootKey]: "root A" }));
  const { publisher: publishing } = await publisher(server);
  publishing.start();
  await expect.poll(() => server.watches("configmaps").length, until).toBe(1);
  publishing.changed();
  server.apply({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "other" }, data: {} });
  await publishing.stop();
  await publishing.stop();
  expect(server.requests.filter(({ verb }) => verb === "create" || verb === "patch")).toEqual([]);
});

test("a refusal is told and tried again; after stop nothing is written", async () => {
  const server = await startApiServer();
  server.faults.add(
    { verb: "create", plural: "configmaps", times: 3 },
    { kind: "status", code: 500, reason: "InternalError" },
  );
  const { publisher: publishing, now, log } = await publisher(server);
  publishing.start();
  const data = () => server.object("v1", "ConfigMap", "default", rootConfigMap)?.["data"];
  await expect.poll(data, until).toEqual({ [rootKey]: "root A" });
  expect(log.messages("warn").join()).toMatch(/roots could not be published/);
  await publishing.stop();
  now.roots = "root B";
  publishing.changed();
  expect(data()).toEqual({ [rootKey]: "root A" });
});
