/**
 * Installed as people do it: every object of the kustomization, on the double and on a real API server; there also by kubectl and Helm
 * where there are such programs, with Kubernetes' own validation and CEL judging policies (docs/kubernetes.md says how to get one).
 */
import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { ApiCalls } from "../support/kubernetes-api/calls.ts";
import { type Cluster, clusterKinds, clusterTimeout, kubeconfig } from "../support/kubernetes-api/cluster.ts";
import type { DraftObject } from "../support/kubernetes-api/objects.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { accepted, denied, type PolicyKind, refused, silent, warned } from "./judged-objects.ts";
import { type KubernetesObject, objectsIn } from "./kubernetes-objects.ts";
import { findProgram, output } from "./programs.ts";

const deploy = fileURLToPath(new URL("../../deploy", import.meta.url));
const file = (path: string) => readFile(join(deploy, path), "utf8");
const eventually = { timeout: 60_000, interval: 100 };
const plurals = { AuthorizationPolicy: "authorizationpolicies", PeerAuthentication: "peerauthentications" } as const;

const adminOf = ({ url, root, adminToken }: Cluster) => new ApiCalls(url, root, adminToken);
const draft = (object: object) => object as unknown as DraftObject;

async function kustomization(): Promise<readonly KubernetesObject[]> {
  const { resources } = parse(await file("kustomization.yaml")) as { resources: string[] };
  return (await Promise.all(resources.map(file))).flatMap(objectsIn);
}

describe.each(clusterKinds)("$name", clusterTimeout, ({ start }) => {
  it("takes every object of the kustomization, in its order, and again", async () => {
    const cluster = await start();
    const objects = await kustomization();
    for (let round = 0; round < 2; round++) await cluster.apply(...objects.map(draft));
    const found = await Promise.all(
      objects.map(({ apiVersion, kind, metadata: { namespace = "", name } }) =>
        cluster.get(apiVersion, kind, namespace, name),
      ),
    );
    expect(found.map((one) => `${one?.kind} ${one?.metadata.name}`)).toEqual(
      objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`),
    );
  });
});

const real = clusterKinds.filter(({ name }) => name === "a real API server");
const programs = { kubectl: findProgram("kubectl"), helm: findProgram("helm") };

for (const { start } of real) {
  it("a real API server judges specs of policies as the CRDs' tests expect", clusterTimeout, async () => {
    const admin = adminOf(await start());
    for (const [kind, text] of accepted)
      expect([text, (await tryPolicy(admin, kind, { spec: parse(text) })).code]).toEqual([text, 201]);
    for (const [kind, text] of refused) {
      const { code, body } = await tryPolicy(admin, kind, { spec: parse(text) });
      expect([text, code, code === 422 || code === 400 ? "" : body]).toEqual([text, expect.any(Number), ""]);
    }
  });

  it(
    "a real API server refuses and warns by the admission policies alone, where the CRDs are somebody else's",
    clusterTimeout,
    async () => {
      const cluster = await start();
      const admin = adminOf(cluster);
      for (const name of Object.values(plurals)) {
        // Kinds that take any fields.
        const path = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}.security.istio.io`;
        const { body } = await admin.call("GET", path);
        const { versions } = body["spec"] as { versions: object[] };
        const schema = { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } };
        const lax = versions.map((version) => ({ ...version, schema, additionalPrinterColumns: [] }));
        expect(
          (await admin.call("PATCH", path, { spec: { versions: lax } }, "application/merge-patch+json")).code,
        ).toBe(200);
      }
      await cluster.apply({ apiVersion: "v1", kind: "Namespace", metadata: { name: "warren-system" } });
      await cluster.apply(...objectsIn(await file("admission.yaml")).map(draft));
      const judge = (object: object) => {
        const { kind, ...rest } = object as { kind: PolicyKind };
        return tryPolicy(admin, kind, rest);
      };
      // Both the schemas and the policies take effect a moment after they were written.
      for (const [object, why] of denied) {
        const answer = async () => {
          const { code, body } = await judge(object);
          return `${code} ${String(body["message"])}`;
        };
        await expect.poll(answer, eventually).toMatch(/^422 .*ValidatingAdmissionPolicy 'warren-policies'/);
        expect((await answer()).replace(/^.* denied request: /, "")).toMatch(why);
      }
      for (const [object, code] of warned) {
        const warnings = async () => (await judge(object)).warnings?.join("\n") ?? "";
        await expect.poll(warnings, eventually).toMatch(new RegExp(`'warren-policy-lints'.*: ${code}: `));
      }
      for (const object of silent) expect(await judge(object)).toMatchObject({ code: 201 });
      for (const object of silent) expect(await judge(object)).not.toHaveProperty("warnings");
    },
  );
}

for (const { start } of programs.kubectl === undefined ? [] : real) {
  const { kubectl = "" } = programs;
  it(
    "kubectl apply -k installs everything, with every field known, and what is there already stays",
    clusterTimeout,
    async () => {
      const cluster = await start();
      const config = `--kubeconfig=${await kubeconfig(cluster, { token: cluster.adminToken })}`;
      for (const how of [[], ["--server-side", "--force-conflicts"]]) {
        const said = await output(kubectl, config, "apply", "-k", deploy, "--validate=strict", ...how);
        expect(said.trim().split("\n")).toHaveLength((await kustomization()).length);
      }
      expect(await output(kubectl, config, "diff", "-k", deploy)).toBe("");
    },
  );
}

for (const { start } of programs.helm === undefined ? [] : real) {
  const { helm = "" } = programs;
  it("helm installs, upgrades and removes a release; the kinds of policies stay", clusterTimeout, async () => {
    const cluster = await start();
    const admin = adminOf(cluster);
    const config = `--kubeconfig=${await kubeconfig(cluster, { token: cluster.adminToken })}`;
    // The kinds that the tests' clusters come with are nobody's.
    const install = ["--namespace", "mesh", "--create-namespace", "--take-ownership"];
    // An API server that was built from source tells no version.
    const chart = join(await temporaryFolder(), "warren");
    await cp(join(deploy, "chart"), chart, { recursive: true });
    const about = await readFile(join(chart, "Chart.yaml"), "utf8");
    await writeFile(join(chart, "Chart.yaml"), about.replace(/^kubeVersion: .*$/m, ""));
    await output(helm, "install", "warren", chart, config, ...install);
    const kinds = await byKind(admin);
    expect(kinds).toMatchObject({ daemonsets: ["warren-node"], deployments: ["warren-control"], resourcequotas: [] });
    await output(
      helm,
      "upgrade",
      "warren",
      chart,
      config,
      ...install,
      "--set",
      "priorityQuota=true,control.replicas=3",
    );
    expect(await byKind(admin)).toMatchObject({ resourcequotas: ["warren"] });
    await output(helm, "uninstall", "warren", config, "--namespace", "mesh");
    expect(await byKind(admin)).toEqual({ daemonsets: [], deployments: [], resourcequotas: [] });
    for (const name of Object.values(plurals)) {
      const path = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}.security.istio.io`;
      expect((await admin.call("GET", path)).body["metadata"]).not.toHaveProperty("deletionTimestamp");
    }
  });
}

async function byKind(admin: ApiCalls): Promise<Readonly<Record<string, readonly string[]>>> {
  const names = async (path: string) => {
    const { items } = (await admin.call("GET", path)).body as { items: { metadata: { name: string } }[] };
    return items.map(({ metadata }) => metadata.name);
  };
  return {
    daemonsets: await names("/apis/apps/v1/namespaces/mesh/daemonsets"),
    deployments: await names("/apis/apps/v1/namespaces/mesh/deployments"),
    resourcequotas: await names("/api/v1/namespaces/mesh/resourcequotas"),
  };
}

/** Judged as if it were created; nothing is kept. */
function tryPolicy(admin: ApiCalls, kind: PolicyKind, { metadata, ...rest }: { metadata?: object; spec?: unknown }) {
  const { namespace = "default", ...others } = (metadata ?? {}) as { namespace?: string };
  const home = namespace === "warren-system" ? namespace : "default";
  const path = `/apis/security.istio.io/v1/namespaces/${home}/${plurals[kind]}?dryRun=All&fieldValidation=Strict`;
  const frame = { apiVersion: "security.istio.io/v1", kind, metadata: { name: "x", ...others, namespace: home } };
  return admin.call("POST", path, { ...frame, ...rest });
}
