/** The verbs' way into a cluster, with the API's double: found by kubeconfig, through a port-forward, to a real control plane. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { parseAllDocuments } from "yaml";
import { kubernetesObjects } from "../../../src/cli/query/kubernetes-objects.ts";
import { removeWith } from "../../../src/cli/query/remove-mesh.ts";
import { ApiClient, apiClientDefaults } from "../../../src/control/kubernetes/api-client.ts";
import { podObject } from "../../manifests/objects.ts";
import { podManifest, startControlPlane } from "../../support/control-plane.ts";
import { expectDocument } from "../../support/documents.ts";
import { kubeconfig, startApiServer } from "../../support/kubernetes-api/cluster.ts";
import type { DraftObject } from "../../support/kubernetes-api/objects.ts";
import { document, warren } from "../support/run-cli.ts";

const signal = AbortSignal.timeout(600_000);
const system = "warren-system";
const draft = (object: object) => object as DraftObject;
const ours = { "app.kubernetes.io/part-of": "warren" };

describe("a mesh in a cluster", () => {
  const home = "mesh-home";

  test("is found by the kubeconfig, in any namespace, and asked through a port-forward, with the user's own token", async () => {
    const plane = await startControlPlane([], podManifest("api", "w1"));
    const api = await startApiServer();
    const digest = createHash("sha256").update(api.adminToken).digest("hex");
    await writeFile(
      join(plane.folder, "tokens.yaml"),
      JSON.stringify({ tokens: {}, operators: { admin: { token: digest, actions: ["inspect"] } } }),
    );
    const root = await readFile(join(plane.folder, "published/root.pem"), "utf8");
    api.apply(
      draft({
        apiVersion: "v1",
        kind: "ConfigMap",
        metadata: { name: "warren-ca-root", namespace: home },
        data: { "root-cert.pem": root },
      }),
      draft(
        podObject({
          name: "control-0",
          namespace: home,
          labels: { "app.kubernetes.io/name": "warren-control" },
          ready: true,
        }),
      ),
    );
    api.portForwards.listen(home, "control-0", 15_012, plane.port);
    vi.stubEnv("KUBECONFIG", await kubeconfig(api, { token: api.adminToken }));
    onTestFinished(() => void vi.unstubAllEnvs());
    // Whoever may list its pods is told where it runs.
    const lost = await warren("services", "--context", "test");
    expect(lost).toMatchObject({ code: 3, stdout: "" });
    expect(lost.stderr).toContain("control runs in mesh-home: say --mesh-namespace mesh-home, or set WARREN_NAMESPACE");
    const flagged = await warren("services", "--context", "test", "--mesh-namespace", "Mesh_Home");
    expect(flagged).toMatchObject({ code: 2, stdout: "" });
    vi.stubEnv("WARREN_NAMESPACE", home);
    // Control takes the new token file within a second.
    await expect.poll(async () => (await warren("services", "--context", "test")).code, { timeout: 30_000 }).toBe(0);
    const { workloads, fanOut, code } = await document<{ workloads: object[]; fanOut: object }>(
      "workloads",
      "--context",
      "test",
    );
    expect(workloads).toMatchObject([
      { name: "api", namespace: "production", node: "w1", protocol: "HBONE", state: "unknown" },
    ]);
    api.apply(
      draft({ apiVersion: "apps/v1", kind: "DaemonSet", metadata: { name: "ztunnel", namespace: "istio-system" } }),
    );
    const { checks } = await document<{ checks: { code: string; result: string; detail: string }[] }>(
      "check",
      "--context",
      "test",
    );
    expect(checks).toContainEqual(
      expect.objectContaining({
        code: "other-meshes",
        result: "warning",
        detail: expect.stringContaining("ztunnel") as string,
      }),
    );
    expect(checks.map((check) => check.code)).not.toContain("rights");
    expect({ fanOut, code }).toMatchObject({ code: 3, fanOut: { asked: ["w1"], answered: [] } });

    // What is told from objects is told from the API's, by the settings of that mesh.
    const shop = { name: "production", labels: { "warren.dev/mode": "ambient" } };
    const app = { name: "api", namespace: "production", labels: { app: "api" } };
    const rules = [{ from: [{ source: { principals: ["cluster.local/ns/production/sa/frontend"] } }] }];
    const authz = { apiVersion: "security.istio.io/v1", kind: "AuthorizationPolicy" };
    api.apply(
      draft({ apiVersion: "v1", kind: "Namespace", metadata: shop }),
      draft(podObject({ ...app, spec: { nodeName: "w1", serviceAccountName: "api" } })),
      draft({
        ...authz,
        metadata: { name: "api", namespace: "production" },
        spec: { selector: { matchLabels: { app: "api" } }, rules },
      }),
      draft({
        ...authz,
        metadata: { name: "wrong", namespace: "production" },
        spec: { action: "DENY", rules: [{ from: [{ source: { ipBlocks: ["10.0.0.0/99"] } }] }] },
      }),
    );
    const described = await document<{ pods: object[] }>("describe", "api.production", "--context", "test");
    expectDocument(described, "warren.describe/v1");
    expect(described.pods).toMatchObject([{ name: "api", enrolled: true, enrolledBecause: "namespace label" }]);
    const asking = ["--from", "production/frontend", "--to", "api.production:8080", "--context", "test"];
    const explained = await document<{ answers: object[] }>("authz", "explain", ...asking);
    expectDocument(explained, "warren.authz-explain/v1");
    expect(explained).toMatchObject({ code: 1, answers: [{ outcome: "deny", decidedBy: "production/wrong" }] });
    const linted = await warren("lint", "--context", "test");
    expect(linted).toMatchObject({ code: 1 });
    expect(linted.stdout).toMatch(/^WP100 AuthorizationPolicy production\/wrong /m);

    // A support archive takes the logs with the user's rights, and nothing that is nobody's to know.
    const key =
      "-----BEGIN PRIVATE KEY-----\\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg\\n-----END PRIVATE KEY-----";
    const secrets = ["MIGHAgEAMBMG", "eyJzdWIiOiJ4In0", "abcdefgh12345678", api.adminToken];
    const agent = podObject({
      name: "agent-w1",
      namespace: home,
      labels: ours,
      spec: { nodeName: "w1", containers: [{ name: "agent" }, { name: "helper" }] },
    });
    const status = { phase: "Running", containerStatuses: [{ name: "agent", restartCount: 1 }] };
    api.apply(draft({ ...agent, status }));
    const log = `{"msg":"first"}\n{"msg":"starting","tls":"${key}"}\n{"msg":"refused eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"}\nauthorization: Bearer abcdefgh12345678\n`;
    api.logs.set(`${home}/agent-w1/agent`, log);
    api.logs.set(`${home}/agent-w1/agent/previous`, "it ended here\n");
    const file = join(plane.folder, "bundle.tar.gz");
    const made = await warren("bundle", "--context", "test", "--file", file, "--log-lines", "3");
    expect(made.stdout).toBe(`${file}\n`);
    expect(made.stderr).toContain("not in it: logs/agent-w1/helper.log: ");
    const archive = gunzipSync(await readFile(file)).toString("latin1");
    for (const text of [
      "logs/agent-w1/agent.log",
      '"msg":"starting"',
      "it ended here",
      "cluster/pods.json",
      "logs/missing.json",
    ])
      expect(archive).toContain(text);
    expect(archive).not.toContain('"msg":"first"');
    for (const secret of secrets) expect(archive).not.toContain(secret);
  });

  test("whose control does not run is unreachable", async () => {
    const api = await startApiServer();
    vi.stubEnv("KUBECONFIG", await kubeconfig(api, { token: api.adminToken }));
    onTestFinished(() => void vi.unstubAllEnvs());
    const result = await warren("status", "--context", "test");
    expect(result).toMatchObject({ code: 3, stdout: "" });
    expect(result.stderr).toContain("MESH_UNREACHABLE");
    expect(result.stderr).toContain("--mesh-namespace");
  });
});

/** What deploy/ installs, without the namespace, CRDs and kustomization. */
const deployed = ["control", "daemonset", "admission", "operators"].flatMap((name) =>
  parseAllDocuments(readFileSync(fileURLToPath(new URL(`../../../deploy/${name}.yaml`, import.meta.url)), "utf8")).map(
    (one) => one.toJS() as object,
  ),
);

test("uninstall takes labels and parts away through the API, and leaves policies and the root's Secret", async () => {
  const api = await startApiServer();
  api.apply(
    draft({
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name: "shop", labels: { "warren.dev/mode": "ambient" } },
    }),
    draft(podObject({ name: "cart", namespace: "shop", labels: { "warren.dev/mode": "none" } })),
    draft({
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "web", namespace: "shop" },
      spec: { template: { metadata: { labels: { app: "web", "warren.dev/mode": "ambient" } } } },
    }),
    ...deployed.map(draft),
    draft({ apiVersion: "apps/v1", kind: "DaemonSet", metadata: { name: "another", namespace: system } }),
    draft({ apiVersion: "v1", kind: "Secret", metadata: { name: "warren-ca", namespace: system, labels: ours } }),
  );
  const client = new ApiClient({ ...apiClientDefaults, kubeconfig: await kubeconfig(api, { token: api.adminToken }) });
  const objects = kubernetesObjects(client, system);
  const outcome = { asked: ["w1"], answered: ["w1"], failures: [] };
  const held = async () => ({ pods: (await objects.labelled(signal)).length > 0 ? ["shop/cart"] : [], outcome });
  const flags = { unlabel: true, wait: 1000, timeout: 1000, output: "json", color: false } as const;
  const out = vi.spyOn(process.stdout, "write").mockReturnValue(true);
  onTestFinished(() => out.mockRestore());
  expect(await removeWith({ objects, held, origin: "test" }, { ...flags, unlabel: false, yes: true }, signal)).toBe(1);
  expect(await objects.labelled(signal)).toHaveLength(2);
  const parts = { objects, held, origin: "test" };
  expect(await removeWith(parts, { ...flags, yes: true }, signal)).toBe(1);
  expect(await removeWith(parts, { ...flags, yes: true, restart: true }, signal)).toBe(0);
  expect([await objects.labelled(signal), await objects.enrolledTemplates(signal)]).toEqual([[], []]);
  const names = async (path: string) => {
    const { items } = (await client.call({ method: "GET", path }, signal)) as unknown as {
      items: { metadata: { name: string } }[];
    };
    return items.map(({ metadata }) => metadata.name);
  };
  expect(await names(`/apis/apps/v1/namespaces/${system}/daemonsets`)).toEqual(["another"]);
  expect(await names(`/apis/apps/v1/namespaces/${system}/deployments`)).toEqual([]);
  expect(await names("/apis/rbac.authorization.k8s.io/v1/clusterroles")).toEqual([]);
  expect(await names("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies")).toEqual([]);
  expect(await names(`/api/v1/namespaces/${system}/secrets`)).toEqual(["warren-ca"]);
});
