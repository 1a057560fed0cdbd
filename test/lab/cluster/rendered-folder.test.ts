import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { parse } from "yaml";
import { RenderedFolder } from "../../../src/lab/cluster/rendered-folder.ts";
import { podOf, runningPod } from "../objects.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "warren-rendered-"));
});
afterEach(() => rmSync(root, { recursive: true }));

it("shows each object as one ordinary manifest, and only those that are there", () => {
  const folder = new RenderedFolder(join(root, "cluster"), join(root, "drafts"));
  const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: "production" } };
  const pod = runningPod("web-1", ["10.244.1.2"]);
  folder.write([namespace, pod]);
  expect(readdirSync(folder.path).sort()).toEqual(["namespace_production.yaml", "pod_production_web-1.yaml"]);
  expect(parse(readFileSync(join(folder.path, "pod_production_web-1.yaml"), "utf8"))).toEqual(
    JSON.parse(JSON.stringify(pod)),
  );
  folder.write([namespace]);
  expect(readdirSync(folder.path)).toEqual(["namespace_production.yaml"]);
  expect(readdirSync(join(root, "drafts"))).toEqual([]);
});

it("touches no file whose object did not change, and replaces one that did", () => {
  const folder = new RenderedFolder(join(root, "cluster"), join(root, "drafts"));
  const [still, moving] = [podOf("still"), podOf("moving")];
  const inode = (name: string) => statSync(join(folder.path, `pod_production_${name}.yaml`)).ino;
  folder.write([still, moving]);
  const before = [inode("still"), inode("moving")];
  folder.write([still, runningPod("moving", ["10.244.1.2"])]);
  expect(inode("still")).toBe(before[0]);
  expect(inode("moving")).not.toBe(before[1]);
});
