import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseManifests, readManifestPath } from "../../../src/lab/cluster/manifests.ts";
import { readExample } from "../../../src/lab/examples.ts";

function problemsOf(text: string): string {
  try {
    parseManifests([{ name: "a.yaml", text }], "production");
  } catch (error) {
    return String(error);
  }
  return "";
}

describe("parseManifests", () => {
  it("reads several documents, lists and comments, and fills in the namespace of kinds that have one", () => {
    const text = `
# nothing here
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: shop}}
- {apiVersion: v1, kind: ServiceAccount, metadata: {name: a, namespace: shop}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: b}}
`;
    const objects = parseManifests([{ name: "a.yaml", text }], "production");
    expect(objects.map(({ kind, metadata }) => [kind, metadata.namespace, metadata.name])).toEqual([
      ["Namespace", undefined, "shop"],
      ["ServiceAccount", "shop", "a"],
      ["ServiceAccount", "production", "b"],
    ]);
  });

  it("passes on kinds and fields that it does not know", () => {
    const text = `{apiVersion: example.com/v1, kind: Gizmo, metadata: {name: g, annotations: {a: b}}, spec: {x: [1, {y: 2}]}}`;
    expect(parseManifests([{ name: "a.yaml", text }], "production")).toEqual([
      {
        apiVersion: "example.com/v1",
        kind: "Gizmo",
        metadata: { name: "g", namespace: "production", annotations: { a: "b" } },
        spec: { x: [1, { y: 2 }] },
      },
    ]);
  });

  it.each([
    ["text that is no YAML", "a: [", "a.yaml"],
    ["a document that is no object", "just text", "a.yaml: object without a name: it"],
    ["an object without a kind", "{apiVersion: v1, metadata: {name: x}}", "a.yaml: object x: kind"],
    [
      "an object without a name",
      "{apiVersion: v1, kind: Pod, metadata: {}}",
      "a.yaml: Pod without a name: metadata.name",
    ],
    [
      "a pod that names no program",
      "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [{name: c, image: i}]}}",
      "a.yaml: Pod x: spec.containers.0.command: is missing: the lab runs no images",
    ],
    [
      "a pod without containers",
      "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: []}}",
      "Pod x: spec.containers",
    ],
    [
      "a version of a kind that the lab does not know",
      "{apiVersion: extensions/v1beta1, kind: Deployment, metadata: {name: x}}",
      "Deployment x: apiVersion: is extensions/v1beta1; the lab knows apps/v1",
    ],
    [
      "a Deployment that would not find its own pods",
      "{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {selector: {matchLabels: {app: x}}, template: {spec: {containers: [{name: c, command: [a]}]}}}}",
      "Deployment x: spec.selector.matchLabels.app: does not match the template's labels",
    ],
    [
      "a port that is none",
      "{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {ports: [{port: 70000}]}}",
      "Service x: spec.ports.0.port",
    ],
    [
      "a name that Kubernetes would refuse",
      "{apiVersion: v1, kind: ConfigMap, metadata: {name: A_b}}",
      "ConfigMap A_b: metadata.name: must be lower-case",
    ],
  ])("refuses %s, naming file, object and field", (_, text, expected) => {
    expect(problemsOf(text)).toContain(expected);
  });

  it("says everything that is wrong at once", () => {
    const problems = problemsOf(`
{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: []}}
---
{apiVersion: v1, kind: Service, metadata: {name: y}, spec: {ports: [{port: 0}]}}
`);
    expect(problems).toContain("Pod x");
    expect(problems).toContain("Service y");
  });

  it("takes the example shop as it is", () => {
    const kinds = parseManifests([readExample("shop.yaml")], "production").map((object) => object.kind);
    expect(kinds.filter((kind) => kind === "Deployment")).toHaveLength(7);
  });
});

describe("readManifestPath", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "warren-manifests-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it("reads the manifests of a folder in order of their names, and no other files", () => {
    for (const name of ["b.yml", "a.yaml", "c.json", "readme.md"]) writeFileSync(join(folder, name), name);
    expect(readManifestPath(folder).map(({ name, text }) => [name, text])).toEqual([
      ["a.yaml", "a.yaml"],
      ["b.yml", "b.yml"],
      ["c.json", "c.json"],
    ]);
  });

  it("says which path it cannot read", () => {
    expect(() => readManifestPath(join(folder, "missing.yaml"))).toThrow(/missing\.yaml.*check the path/);
  });
});
