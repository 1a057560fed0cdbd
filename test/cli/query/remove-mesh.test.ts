import { describe, expect, test, vi } from "vitest";
import type { ClusterObjects, LabelledObject } from "../../../src/cli/query/cluster-objects.ts";
import { kubernetesObjects } from "../../../src/cli/query/kubernetes-objects.ts";
import { removeWith } from "../../../src/cli/query/remove-mesh.ts";
import { type ApiCall, ApiError, type KubernetesApi } from "../../../src/control/kubernetes/api.ts";

const flags = { yes: true, unlabel: true, wait: 0, timeout: 1000, output: "json", color: false } as const;
const signal = new AbortController().signal;

/** A cluster in which un-labelling frees pods, unless it is `stuck`; every act is written down. */
function cluster(options: { stuck?: true; silent?: true; template?: true } = {}) {
  const acts: string[] = [];
  let labels: LabelledObject[] = [{ kind: "Namespace", namespace: "", name: "a" }];
  const objects: ClusterObjects = {
    setMode: async ({ kind, name }, mode) => {
      if (kind === "Pod") {
        labels = labels.filter((object) => object.name !== name);
        throw new ApiError("it has gone", { status: 404 });
      }
      acts.push(`${name} ${mode ?? "unlabelled"}`);
      labels = labels.filter((object) => object.name !== name);
    },
    podGround: () => Promise.reject(new Error("nobody asks")),
    labelled: async () => labels,
    enrolledTemplates: async () =>
      options.template === true ? [{ kind: "Deployment", namespace: "a", name: "d" }] : [],
    removeMesh: async () => void acts.push("removed"),
  };
  const held = async () => {
    const pods = labels.length > 0 || options.stuck === true ? ["a/p"] : [];
    const failures = options.silent === true ? [{ node: "w2", message: "away" }] : [];
    return { pods, outcome: { asked: ["w1", "w2"], answered: ["w1"], failures } };
  };
  return { acts, parts: { objects, held, origin: "a test" } };
}

async function quietly(run: () => Promise<number>): Promise<{ code: number; document: Record<string, unknown> }> {
  const out = vi.spyOn(process.stdout, "write").mockReturnValue(true);
  const err = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  try {
    const code = await run();
    return {
      code,
      document: JSON.parse(out.mock.calls.map(([text]) => String(text)).join("")) as Record<string, unknown>,
    };
  } finally {
    out.mockRestore();
    err.mockRestore();
  }
}

describe("uninstall", () => {
  test("takes labels away, waits, then removes", async () => {
    const { acts, parts } = cluster();
    expect(await quietly(() => removeWith(parts, flags, signal))).toMatchObject({
      code: 0,
      document: { removed: true },
    });
    expect(acts).toEqual(["a unlabelled", "removed"]);
  });

  test("without --yes changes nothing and says what it would do", async () => {
    const { acts, parts } = cluster();
    const { yes: _, ...asked } = flags;
    expect(await quietly(() => removeWith(parts, asked, signal))).toMatchObject({
      code: 0,
      document: { removed: false },
    });
    expect(acts).toEqual([]);
  });

  test("removes nothing while a pod stays captured", async () => {
    const { acts, parts } = cluster({ stuck: true });
    const { code, document } = await quietly(() => removeWith(parts, flags, signal));
    expect({ code, captured: document["captured"] }).toEqual({ code: 4, captured: ["a/p"] });
    expect(acts).toEqual(["a unlabelled"]);
  });

  test("changes a template, which replaces pods, only when that is allowed, and before what its pods carry", async () => {
    const { acts, parts } = cluster({ template: true });
    const refused = await quietly(() => removeWith(parts, flags, signal));
    expect(refused.code).toBe(1);
    expect(JSON.stringify(refused.document["steps"])).toMatch(/pod template of deploy\/d\.a.*--restart/);
    expect(acts).toEqual([]);
    expect(await quietly(() => removeWith(parts, { ...flags, restart: true }, signal))).toMatchObject({ code: 0 });
    expect(acts).toEqual(["d unlabelled", "a unlabelled", "removed"]);
  });

  test("takes no offence at a pod that has gone before its label", async () => {
    const { acts, parts } = cluster();
    const pod = { kind: "Pod", namespace: "a", name: "old" } as const;
    const { objects } = parts;
    const first = vi
      .fn((asked: AbortSignal) => objects.labelled(asked))
      .mockResolvedValueOnce([pod, ...(await objects.labelled(signal))]);
    const all = { ...parts, objects: { ...objects, labelled: first } };
    expect(await quietly(() => removeWith(all, flags, signal))).toMatchObject({ code: 0 });
    expect(acts).toEqual(["a unlabelled", "removed"]);
  });

  test("refuses at once with --no-unlabel when a pod is captured", async () => {
    const { acts, parts } = cluster();
    expect(await quietly(() => removeWith(parts, { ...flags, unlabel: false }, signal))).toMatchObject({ code: 1 });
    expect(acts).toEqual([]);
  });

  test("touches nothing when a node is silent, because what it holds is not known", async () => {
    const { acts, parts } = cluster({ silent: true });
    expect(await quietly(() => removeWith(parts, flags, signal))).toMatchObject({ code: 3 });
    expect(acts).toEqual([]);
  });
});

describe("objects of a Kubernetes cluster", () => {
  function api(answer: (call: ApiCall) => object) {
    const calls: ApiCall[] = [];
    const fake: KubernetesApi = {
      call: async (call) => {
        calls.push(call);
        return answer(call) as Readonly<Record<string, unknown>>;
      },
      watch: async () => {},
    };
    return { calls, objects: kubernetesObjects(fake, "mesh") };
  }

  test("are labelled by merge patches, where null takes a label away", async () => {
    const { calls, objects } = api(() => ({}));
    await objects.setMode({ kind: "Namespace", namespace: "", name: "a" }, "ambient", signal);
    await objects.setMode({ kind: "Pod", namespace: "a", name: "p" }, undefined, signal);
    expect(calls).toMatchObject([
      {
        method: "PATCH",
        path: "/api/v1/namespaces/a",
        body: { metadata: { labels: { "warren.dev/mode": "ambient" } } },
      },
      {
        method: "PATCH",
        path: "/api/v1/namespaces/a/pods/p",
        body: { metadata: { labels: { "warren.dev/mode": null } } },
      },
    ]);
    expect(calls.map(({ contentType }) => contentType)).toEqual(Array(2).fill("application/merge-patch+json"));
  });

  test("that carry the label are found in both kinds", async () => {
    const { calls, objects } = api(({ path }) => ({
      items: path.endsWith("pods") ? [{ metadata: { name: "p", namespace: "a" } }] : [{ metadata: { name: "a" } }],
    }));
    expect(await objects.labelled(signal)).toEqual([
      { kind: "Namespace", namespace: "", name: "a" },
      { kind: "Pod", namespace: "a", name: "p" },
    ]);
    expect(calls.map(({ query }) => query)).toEqual([
      { labelSelector: "warren.dev/mode" },
      { labelSelector: "warren.dev/mode" },
    ]);
  });

  test("whose template enrols its pods are found among all", async () => {
    const template = (mode?: string) => ({
      spec: {
        template: { metadata: { labels: { app: "x", ...(mode === undefined ? {} : { "warren.dev/mode": mode }) } } },
      },
    });
    const { calls, objects } = api(({ path }) => ({
      items: path.endsWith("deployments")
        ? [
            { metadata: { name: "in", namespace: "a" }, ...template("ambient") },
            { metadata: { name: "out", namespace: "a" }, ...template("none") },
            { metadata: { name: "plain", namespace: "a" }, ...template() },
          ]
        : [],
    }));
    expect(await objects.enrolledTemplates(signal)).toEqual([{ kind: "Deployment", namespace: "a", name: "in" }]);
    expect(calls.map(({ path }) => path)).toEqual([
      "/apis/apps/v1/deployments",
      "/apis/apps/v1/statefulsets",
      "/apis/apps/v1/daemonsets",
    ]);
  });

  test("are removed agents first, then control; a refusal ends it", async () => {
    const { calls, objects } = api(({ method, path }) => {
      const name = /\/(daemonsets|deployments|services)$/.exec(path)?.[1];
      if (method === "GET") return { items: name === undefined ? [] : [{ metadata: { name: `our-${name}` } }] };
      if (path.endsWith("our-services")) throw new ApiError("you may not", { status: 403 });
      return {};
    });
    const told: string[] = [];
    await expect(objects.removeMesh((step) => void told.push(step), signal)).rejects.toThrow("you may not");
    expect(told).toEqual(["DaemonSet our-daemonsets is removed", "Deployment our-deployments is removed"]);
    const listed = calls.filter(({ method }) => method === "GET");
    expect(new Set(listed.map(({ query }) => query?.["labelSelector"]))).toEqual(
      new Set(["app.kubernetes.io/part-of=warren"]),
    );
    expect(calls[0]).toMatchObject({ path: "/apis/apps/v1/namespaces/mesh/daemonsets" });
    for (const { path } of calls) expect(path).not.toContain("warren-system");
  });
});
