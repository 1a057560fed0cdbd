/** What a cluster is given: the manifests and the chart say the same, are what the source renders, and ask for no more than they need. */
import { access, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import type { z } from "zod";
import { nodeObjects } from "../../deploy/source/node.ts";
import { reasonsIn } from "../../deploy/source/plain.ts";
import { rendered } from "../../deploy/source/render.ts";
import { defaultValues, type Values } from "../../deploy/source/values.ts";
import { controlConfigSchema } from "../../src/control/config.ts";
import { loadConfig } from "../../src/lib/config.ts";
import { nodeConfigSchema } from "../../src/node/config.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { helmTemplate } from "./helm-template.ts";
import { type Container, type KubernetesObject, objectsIn, type PodSpec } from "./kubernetes-objects.ts";

const deploy = fileURLToPath(new URL("../../deploy", import.meta.url));

async function file(path: string): Promise<string> {
  return readFile(join(deploy, path), "utf8");
}

async function workload(
  path: string,
  kind: string,
): Promise<{ pod: PodSpec; container: Container; all: KubernetesObject[] }> {
  const all = objectsIn(await file(path));
  const pod = all.find((one) => one.kind === kind)?.spec?.template?.spec;
  const [container] = pod?.containers ?? [];
  if (pod === undefined || container === undefined) throw new Error(`${path} has no ${kind} with a container`);
  return { pod, container, all };
}

/** Reads a workload's configuration as the process would: its ConfigMap as file, its environment as it is set. */
async function configOf<S extends z.ZodObject>(schema: S, path: string, kind: string) {
  const { container, all } = await workload(path, kind);
  const text = all.find((one) => one.kind === "ConfigMap")?.data?.["config.yaml"] ?? "";
  const config = join(await temporaryFolder(), "config.yaml");
  await writeFile(config, text);
  const environment = Object.fromEntries(
    container.env.map(({ name, value }) => [name, value ?? "from-the-downward-api"]),
  );
  return (await loadConfig(schema, { args: [`--config=${config}`], environment })).value;
}

describe("the manifests in deploy/", () => {
  it("are what the source renders", async () => {
    for (const [path, text] of await rendered()) expect(`${path}\n${await file(path)}`).toBe(`${path}\n${text}`);
  });

  it.each<[string, string[], string[]]>([
    ["nodes", ["daemonset.yaml"], ["chart/templates/node.yaml"]],
    ["control", ["control.yaml"], ["chart/templates/control.yaml"]],
    ["operators", ["operators.yaml"], ["chart/templates/operators.yaml"]],
    ["admission", ["admission.yaml"], ["chart/templates/admission.yaml"]],
    ["policy kinds", ["crds/authorizationpolicies.yaml"], ["chart/templates/crd-authorizationpolicies.yaml"]],
    ["policy kinds", ["crds/peerauthentications.yaml"], ["chart/templates/crd-peerauthentications.yaml"]],
  ])("for %s say what the chart says with its defaults", async (_, plain, chart) => {
    const values = parse(await file("chart/values.yaml")) as Values;
    expect(values).toEqual(defaultValues);
    const fromChart = await Promise.all(
      chart.map(async (path) => helmTemplate(await file(path), values, "warren-system")),
    );
    const plainText = await Promise.all(plain.map(file));
    expect(fromChart.flatMap(objectsIn)).toEqual(plainText.flatMap(objectsIn));
  });

  it("are all in the kustomization", async () => {
    const { resources } = parse(await file("kustomization.yaml")) as { resources: string[] };
    // The rules need the Prometheus operator's CRD, the dashboard a Grafana: neither is every cluster's.
    const plain = [...(await rendered()).keys()].filter((path) => !/^(chart|monitoring|grafana)\//.test(path));
    expect(resources.toSorted()).toEqual(
      [...plain, "admission.yaml", "crds/authorizationpolicies.yaml", "crds/peerauthentications.yaml"].toSorted(),
    );
    await Promise.all(resources.map((path) => access(join(deploy, path))));
  });
});

describe("the agents' DaemonSet", () => {
  it("gives agents a configuration that they take", async () => {
    const config = await configOf(nodeConfigSchema, "daemonset.yaml", "DaemonSet");
    const { container } = await workload("daemonset.yaml", "DaemonSet");
    expect(config.control.address).toEqual({ host: "warren-control.warren-system.svc", port: 15_012 });
    const mounted = (path: string) => container.volumeMounts.some(({ mountPath }) => path.startsWith(`${mountPath}/`));
    const { control, discovery, capture, cni } = config;
    for (const path of [
      control.rootCertificate,
      control.tokenFile,
      discovery.stateFile,
      capture.pinDirectory,
      cni.socket,
    ]) {
      expect(mounted(path ?? "")).toBe(true);
    }
  });

  it("drops every capability but those with a reason, and is not privileged", async () => {
    const { container } = await workload("daemonset.yaml", "DaemonSet");
    const { capabilities, privileged, readOnlyRootFilesystem } = container.securityContext as {
      capabilities: { drop: string[]; add: string[] };
      privileged: boolean;
      readOnlyRootFilesystem: boolean;
    };
    expect({ privileged, readOnlyRootFilesystem, drop: capabilities.drop }).toEqual({
      privileged: false,
      readOnlyRootFilesystem: true,
      drop: ["ALL"],
    });
    const text = await file("daemonset.yaml");
    const reasons = nodeObjects.flatMap(reasonsIn);
    expect(reasons.map(({ value }) => value)).toEqual(capabilities.add);
    for (const { value, reason } of reasons) expect(text).toContain(`- ${value} # ${reason}`);
  });

  it("replaces agents without a moment in which a node has none, and never by a liveness probe", async () => {
    const { container, all } = await workload("daemonset.yaml", "DaemonSet");
    expect(all.find(({ kind }) => kind === "DaemonSet")).toMatchObject({
      spec: { updateStrategy: { rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } } },
    });
    expect(container).toHaveProperty("readinessProbe");
    expect(container).not.toHaveProperty("livenessProbe");
    expect(container).not.toHaveProperty("startupProbe");
  });

  it("mounts every volume that it names and names every volume that it mounts", async () => {
    for (const [path, kind] of [
      ["daemonset.yaml", "DaemonSet"],
      ["control.yaml", "Deployment"],
    ] as const) {
      const { pod, container } = await workload(path, kind);
      expect(container.volumeMounts.map(({ name }) => name)).toEqual(pod.volumes.map(({ name }) => name));
    }
  });

  it("has an account that no role is bound to, and no token of the API", async () => {
    const { pod } = await workload("daemonset.yaml", "DaemonSet");
    expect(pod["automountServiceAccountToken"]).toBe(false);
    const bound = ["control.yaml", "operators.yaml", "daemonset.yaml"].map(file);
    const subjects = (await Promise.all(bound)).flatMap(objectsIn).flatMap(({ subjects: all }) => all ?? []);
    expect(subjects.map(({ name }) => name)).not.toContain("warren-node");
  });
});

describe("control's Deployment", () => {
  it("gives control a configuration that it takes", async () => {
    const config = await configOf(controlConfigSchema, "control.yaml", "Deployment");
    expect(config.kubernetes).toMatchObject({ config: "in-cluster", trustedAccounts: ["warren-system/warren-node"] });
    expect(config.servingNames).toContain("warren-control.warren-system.svc");
    expect(config.mesh.rootNamespace).toBe("warren-system");
  });

  it("needs no root and no capability", async () => {
    const { pod, container } = await workload("control.yaml", "Deployment");
    expect(pod["securityContext"]).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } });
    expect(container.securityContext).toEqual({
      privileged: false,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"] },
    });
  });
});
