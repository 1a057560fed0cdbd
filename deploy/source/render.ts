/**
 * Writes the plain manifests and the Helm chart from the one set of objects in this folder: `npm run deploy`. A test renders them
 * again and compares.
 */
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { version } from "../../src/lib/version.ts";
import { controlAccess, operatorObjects } from "./access.ts";
import { ruleGroups } from "./alerts.ts";
import { chartFile, chartSchema, chartTemplate, chartValues, escaped } from "./chart.ts";
import { controlObjects } from "./control.ts";
import { dashboard } from "./dashboard.ts";
import type { Templated } from "./knob.ts";
import { nodeObjects } from "./node.ts";
import { plainManifest, plainNamespace } from "./plain.ts";
import { defaultValues } from "./values.ts";

const deploy = fileURLToPath(new URL("..", import.meta.url));
const generated = "# Generated from deploy/source by `npm run deploy`; change it there.\n";

const namespace = {
  apiVersion: "v1",
  kind: "Namespace",
  metadata: {
    name: plainNamespace,
    labels: {
      "warren.dev/mode": "none",
      // Agents need host paths and capabilities. The namespaces of applications can stay restricted.
      "pod-security.kubernetes.io/enforce": "privileged",
    },
  },
} as const;

const prometheusRule: Templated = {
  apiVersion: "monitoring.coreos.com/v1",
  kind: "PrometheusRule",
  metadata: { name: "warren", namespace: plainNamespace, labels: { "app.kubernetes.io/part-of": "warren" } },
  spec: ruleGroups,
};

async function crds(): Promise<readonly (readonly [string, string])[]> {
  const folder = join(deploy, "crds");
  const names = (await readdir(folder)).toSorted();
  return Promise.all(names.map(async (name) => [name, await readFile(join(folder, name), "utf8")] as const));
}

/** Files by their path below `deploy/`. */
export async function rendered(): Promise<ReadonlyMap<string, string>> {
  const admission = await readFile(join(deploy, "admission.yaml"), "utf8");
  const control = [...controlAccess, ...controlObjects];
  const files = new Map<string, string>([
    ["namespace.yaml", plainManifest([namespace], defaultValues, generated)],
    ["daemonset.yaml", plainManifest(nodeObjects, defaultValues, generated)],
    ["control.yaml", plainManifest(control, defaultValues, generated)],
    ["operators.yaml", plainManifest(operatorObjects, defaultValues, generated)],
    ["monitoring/prometheusrule.yaml", plainManifest([prometheusRule], defaultValues, generated)],
    ["grafana/warren.json", `${JSON.stringify(dashboard(), undefined, 2)}\n`],
    ["chart/Chart.yaml", `${generated}${chartFile(version)}`],
    ["chart/values.yaml", `${generated}${chartValues()}`],
    ["chart/values.schema.json", chartSchema()],
    ["chart/templates/node.yaml", chartTemplate(nodeObjects, generated)],
    ["chart/templates/control.yaml", chartTemplate(control, generated)],
    ["chart/templates/operators.yaml", chartTemplate(operatorObjects, generated)],
    ["chart/templates/admission.yaml", conditional("admission", admission)],
  ]);
  for (const [name, text] of await crds()) files.set(`chart/templates/crd-${name}`, conditional("crds", text));
  return files;
}

function conditional(path: string, yaml: string): string {
  return `${generated}{{- if .Values.${path} }}\n${escaped(yaml)}{{- end }}\n`;
}

if (import.meta.main) {
  for (const [path, text] of await rendered()) {
    await mkdir(dirname(join(deploy, path)), { recursive: true });
    await writeFile(join(deploy, path), text);
  }
}
