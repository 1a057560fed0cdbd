/**
 * The chart under several values, and the kustomization: read by this folder's own reading of templates, and by Helm, kubectl and
 * kustomize where a machine has them (`helm`, `kubectl` or `kustomize` on PATH or in `KUBEBUILDER_ASSETS`). All must say the same.
 */
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import type { z } from "zod";
import { nodeObjects } from "../../deploy/source/node.ts";
import { fill } from "../../deploy/source/plain.ts";
import { valuesSchema } from "../../deploy/source/values.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { helmTemplate } from "./helm-template.ts";
import { byName, type KubernetesObject, objectsIn } from "./kubernetes-objects.ts";
import { findProgram, output } from "./programs.ts";

const deploy = fileURLToPath(new URL("../../deploy", import.meta.url));
const chart = join(deploy, "chart");
const file = (path: string) => readFile(join(deploy, path), "utf8");

type Given = z.input<typeof valuesSchema>;

/** What a chart becomes; throws for values that it refuses. */
interface Renderer {
  readonly name: string;
  readonly render: (given: Given, namespace: string) => Promise<readonly KubernetesObject[]>;
}

const own: Renderer = {
  name: "the test's reading of templates",
  render: async (given, namespace) => {
    const values = valuesSchema.parse(given);
    const templates = (await readdir(join(chart, "templates"))).map((name) => file(`chart/templates/${name}`));
    return (await Promise.all(templates)).flatMap((text) => objectsIn(helmTemplate(text, values, namespace)));
  },
};

function renderedBy(helm: string): Renderer {
  return {
    name: "helm",
    render: async (given, namespace) => {
      const values = join(await temporaryFolder(), "values.yaml");
      // JSON, because an `off` or `yes` that nobody quotes is a boolean to Helm.
      await writeFile(values, JSON.stringify(given));
      // A Helm that was built from source takes the cluster for an ancient one.
      const args = ["--namespace", namespace, "--kube-version", "1.34.0", "--values", values];
      return objectsIn(await output(helm, "template", "warren", chart, ...args));
    },
  };
}

const helm = findProgram("helm");
const renderers = [own, ...(helm === undefined ? [] : [renderedBy(helm)])];
// Each call of a program reads a chart anew, on a machine that may have other things to do.
const patience = { timeout: 180_000 } as const;

/** Every value set to something else than its default. */
const everything: Given = {
  image: {
    repository: "registry.example/mesh/warren",
    tag: "9.9",
    pullPolicy: "Never",
    pullSecrets: [{ name: "pull" }],
  },
  mesh: {
    trustDomain: "prod.example",
    trustDomainAliases: ["old.example", "older.example"],
    clusterDomain: "k8s.example",
    localTraffic: "auto",
    defaultAction: "deny",
  },
  node: {
    engine: "typescript",
    logLevel: "debug",
    accessLog: "off",
    resources: { requests: { cpu: 2, memory: "1Gi" }, limits: { memory: "2Gi", "hugepages-2Mi": "4Mi" } },
    nodeSelector: { "kubernetes.io/os": "linux", mesh: "yes" },
    tolerations: [{ key: "a", operator: "Equal", value: "true", effect: "NoExecute", tolerationSeconds: 5 }],
    terminationGracePeriodSeconds: 95,
    drainDeadline: "1m30s",
    seLinuxType: "spc_t",
    cri: { directory: "/run/k3s/containerd", socket: "containerd.sock" },
    cni: {
      enabled: true,
      binDir: "/bin/cni",
      confDir: "/etc/k3s/net.d",
      excludeNamespaces: ["kube-system", "cattle-system"],
    },
  },
  control: {
    replicas: 5,
    logLevel: "warn",
    resources: { requests: { memory: "1Gi" }, limits: { memory: "8Gi" } },
    nodeSelector: { role: "infra" },
    tolerations: [{ key: "infra", operator: "Exists" }],
    networkPolicy: true,
  },
  crds: true,
  priorityQuota: true,
  admission: true,
};
const nothing: Given = {
  node: { cni: { enabled: false } },
  control: { networkPolicy: false },
  crds: false,
  admission: false,
};

describe.each(renderers)("the chart, rendered by $name", patience, ({ render }) => {
  it("says with its defaults what the kustomization says, but for the namespace, which Helm makes itself", async () => {
    const { resources } = parse(await file("kustomization.yaml")) as { resources: string[] };
    const plain = (await Promise.all(resources.map(file))).flatMap(objectsIn);
    expect(byName(await render({}, "warren-system"))).toEqual(byName(plain.filter(({ kind }) => kind !== "Namespace")));
  });

  it("puts every value where it belongs", async () => {
    const objects = byName(await render(everything, "mesh"));
    const values = valuesSchema.parse(everything);
    const daemonSet = objects["DaemonSet warren-node"];
    // Filled by the plain manifests' way, in the namespace of this release.
    const filled = JSON.stringify(nodeObjects.map((object) => fill(object, values)));
    expect(daemonSet).toEqual(
      (JSON.parse(filled.replaceAll("warren-system", "mesh")) as KubernetesObject[]).find(
        ({ kind }) => kind === "DaemonSet",
      ),
    );
    const [agent] = daemonSet?.spec?.template?.spec.containers ?? [];
    const environment = Object.fromEntries((agent?.env ?? []).map(({ name, value }) => [name, value]));
    expect(environment).toMatchObject({
      WARREN_CAPTURE_CRI_SOCKET: "/host/cri/containerd.sock",
      WARREN_CNI_EXCLUDE_NAMESPACES: "mesh,kube-system,cattle-system",
      WARREN_CONTROL_ADDRESS: "warren-control.mesh.svc:15012",
      WARREN_DRAIN_DEADLINE: "1m30s",
    });
    expect(agent).toMatchObject({
      image: "registry.example/mesh/warren:9.9",
      resources: everything.node?.resources,
      securityContext: { seLinuxOptions: { type: "spc_t" } },
    });
    expect(objects["Deployment warren-control"]).toMatchObject({
      spec: {
        replicas: 5,
        template: { spec: { nodeSelector: { role: "infra" }, imagePullSecrets: [{ name: "pull" }] } },
      },
    });
    expect(parse(objects["ConfigMap warren-control"]?.data?.["config.yaml"] ?? "")).toMatchObject({
      kubernetes: { namespace: "mesh", trustedAccounts: ["mesh/warren-node"] },
      mesh: { trustDomainAliases: ["old.example", "older.example"] },
    });
    expect(objects["ResourceQuota warren"]).toMatchObject({ metadata: { namespace: "mesh" } });
  });

  it("belongs to its namespace wholly: no object and no rule speaks of another one", async () => {
    for (const given of [everything, nothing, {}]) {
      const objects = await render(given, "mesh");
      // The cluster's own is named as one that CNI leaves alone.
      expect(JSON.stringify(objects)).not.toContain("warren-system");
      for (const { metadata } of objects) expect([undefined, "mesh"]).toContain(metadata.namespace);
    }
    const { "ValidatingAdmissionPolicy warren-policy-lints": lints } = byName(await render({}, "mesh"));
    expect(JSON.stringify(lints)).toContain("object.metadata.namespace != 'mesh'");
  });

  it("leaves out what its values turn off", async () => {
    const objects = byName(await render(nothing, "mesh"));
    const kinds = Object.values(objects).map(({ kind }) => kind);
    for (const kind of ["CustomResourceDefinition", "ValidatingAdmissionPolicy", "NetworkPolicy", "ResourceQuota"])
      expect(kinds).not.toContain(kind);
    expect(JSON.stringify(objects["DaemonSet warren-node"])).not.toMatch(/cni|host.cri|seLinux/i);
  });

  it.each<[string, object]>([
    ["an unknown value", { nodes: {} }],
    ["a value of the wrong type", { control: { replicas: "two" } }],
    ["fewer than one replica", { control: { replicas: 0 } }],
    ["a word that is none of those it may be", { mesh: { localTraffic: "plain" } }],
    ["a time without a unit", { node: { drainDeadline: "30" } }],
    ["a folder that is none", { node: { cni: { binDir: "opt/cni/bin" } } }],
    ["no namespace that starts without the mesh", { node: { cni: { excludeNamespaces: [] } } }],
    ["a default that was taken away", { image: { tag: null } }],
  ])("refuses %s", async (_, given) => {
    await expect(render(given as Given, "mesh")).rejects.toThrow();
  });
});

for (const program of helm === undefined ? [] : [helm]) {
  it("helm has nothing to say against the chart", patience, async () => {
    expect(await output(program, "lint", chart, "--strict")).toContain("1 chart(s) linted, 0 chart(s) failed");
  });
}

const kustomizers = (["kubectl", "kustomize"] as const).flatMap((name) => {
  const program = findProgram(name);
  return program === undefined ? [] : [{ name, program, command: name === "kubectl" ? "kustomize" : "build" }];
});
for (const { name, program, command } of kustomizers) {
  it(`${name} makes of the kustomization what its files say`, patience, async () => {
    const { resources } = parse(await file("kustomization.yaml")) as { resources: string[] };
    const plain = (await Promise.all(resources.map(file))).flatMap(objectsIn);
    expect(byName(objectsIn(await output(program, command, deploy)))).toEqual(byName(plain));
  });
}
