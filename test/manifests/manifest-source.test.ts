import { rename, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import {
  createManifestSource,
  type ManifestSource,
  type ManifestSourceOptions,
} from "../../src/manifests/manifest-source.ts";
import { settings } from "../mesh/build.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { podObject, policyObject } from "./objects.ts";

/** A source over a new folder. `rescan` is long, so that only file events bring news. */
async function started(
  files: Readonly<Record<string, unknown>>,
  times: Partial<Pick<ManifestSourceOptions, "debounce" | "settle">> = {},
): Promise<{ folder: string; source: ManifestSource }> {
  const folder = await temporaryFolder();
  for (const [file, content] of Object.entries(files)) await write(folder, file, content);
  const source = createManifestSource({ folder, settings, rescan: 3_600_000, ...times });
  onTestFinished(() => source.stop());
  await source.start(AbortSignal.timeout(30_000));
  return { folder, source };
}

function text(content: unknown): string {
  if (typeof content === "string") return content;
  return (Array.isArray(content) ? content : [content]).map((object) => JSON.stringify(object)).join("\n---\n");
}

async function write(folder: string, file: string, content: unknown): Promise<void> {
  await writeFile(join(folder, file), text(content));
}

/** As careful tools do it: the new file is complete before it has its name. */
async function replace(folder: string, file: string, content: unknown): Promise<void> {
  const draft = join(folder, `.${file}.draft`);
  await writeFile(draft, text(content));
  await rename(draft, join(folder, file));
}

function names(source: ManifestSource): string[] {
  return [...source.view.workloads()].map(({ name }) => name).sort();
}

function until(check: () => void): Promise<void> {
  return vi.waitFor(check, { timeout: 30_000, interval: 5 });
}

const web = podObject({ name: "web", ips: ["10.0.0.1"] });
const api = podObject({ name: "api", ips: ["10.0.0.2"] });
const strict = policyObject("PeerAuthentication", "default", { mtls: { mode: "STRICT" } });

describe("reading", () => {
  test("takes YAML documents, JSON and Lists, and ignores other kinds and other files", async () => {
    const { source } = await started({
      "a.yaml": `# first\n---\n${JSON.stringify(web)}\n---\n`,
      "b.json": {
        kind: "List",
        apiVersion: "v1",
        items: [api, { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "x" } }],
      },
      "c.yml": { apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "api" }, spec: { template: {} } },
      "notes.txt": "not a manifest",
      ".hidden.yaml": "{{{",
    });
    expect(names(source)).toEqual(["api", "web"]);
    expect(source.problems()).toEqual([]);
  });

  test("puts objects without a namespace into the default one", async () => {
    const { source } = await started({ "a.yaml": { ...web, metadata: { name: "web" } } });
    expect([...source.view.workloads()]).toMatchObject([{ namespace: "default" }]);
  });

  test("fails to start without its folder, naming it", async () => {
    const source = createManifestSource({ folder: "/nonexistent/manifests", settings });
    await expect(source.start(AbortSignal.timeout(1000))).rejects.toMatchObject({
      code: "MESH_MANIFESTS_UNREADABLE",
      message: expect.stringContaining("/nonexistent/manifests"),
    });
    await source.stop();
  });
});

describe("changes", () => {
  test("of a file are in force as one change", async () => {
    const { folder, source } = await started({ "a.yaml": [web] });
    const changes: number[] = [];
    source.onChange(({ workloads }) => changes.push(workloads.size));
    await replace(folder, "a.yaml", [api, podObject({ name: "db", ips: ["10.0.0.3"] })]);
    await until(() => expect(names(source)).toEqual(["api", "db"]));
    expect(changes).toEqual([3]);
  });

  test("of a file's time alone change nothing", async () => {
    const { folder, source } = await started({ "a.yaml": [web] });
    const { epoch } = source.view;
    await replace(folder, "a.yaml", [web]);
    await source.refresh();
    expect(source.view.epoch).toBe(epoch);
  });

  test("new and deleted files count", async () => {
    const { folder, source } = await started({ "a.yaml": web });
    await write(folder, "b.yaml", api);
    await until(() => expect(names(source)).toEqual(["api", "web"]));
    await rm(join(folder, "a.yaml"));
    await until(() => expect(names(source)).toEqual(["api"]));
  });

  test("that shorten a file in place wait for a second look: a writer may be in the middle", async () => {
    // Nobody looks but this test: a look for an event, or the second one, would come at any time on a machine that is late.
    const never = { debounce: 3_600_000, settle: 3_600_000 };
    const { folder, source } = await started({ "a.yaml": [web, strict] }, never);
    const lost: boolean[] = [];
    source.onChange(() => lost.push([...source.view.peerAuthentications()].length === 0));
    await truncate(join(folder, "a.yaml"), 0);
    await source.refresh();
    expect(names(source)).toEqual(["web"]);
    await write(folder, "a.yaml", [web, strict, api]);
    await source.refresh();
    expect(names(source)).toEqual(["api", "web"]);
    expect(lost).not.toContain(true);
  });

  test("that shorten a file in place count when the file stays so", async () => {
    const { folder, source } = await started({ "a.yaml": [web, api] });
    await write(folder, "a.yaml", [web]);
    await until(() => expect(names(source)).toEqual(["web"]));
  });

  test("are heard by a rescan where no event tells", async () => {
    const folder = await temporaryFolder();
    const source = createManifestSource({ folder, settings, rescan: 20, debounce: 3_600_000 });
    onTestFinished(() => source.stop());
    await source.start(AbortSignal.timeout(30_000));
    await replace(folder, "a.yaml", web);
    await until(() => expect(names(source)).toEqual(["web"]));
  });

  test("are heard while other files change all the time", async () => {
    const { folder, source } = await started({ "a.yaml": web });
    const enough = new AbortController();
    const writer = (async () => {
      for (let count = 0; !enough.signal.aborted; count += 1) await writeFile(join(folder, "noise.txt"), `${count}`);
    })();
    await replace(folder, "b.yaml", api);
    await until(() => expect(names(source)).toEqual(["api", "web"]));
    enough.abort();
    await writer;
  });

  test("after stop are not heard; stop may be called twice", async () => {
    const { folder, source } = await started({ "a.yaml": web });
    await source.stop();
    await source.stop();
    await replace(folder, "a.yaml", api);
    await source.refresh();
    expect(names(source)).toEqual(["web"]);
  });
});

describe("bad manifests", () => {
  test("that are no YAML leave the whole file as it was, and say where", async () => {
    const { folder, source } = await started({ "a.yaml": [web], "b.yaml": [api] });
    await replace(folder, "a.yaml", "kind: Pod\n  bad indent: [\n");
    await until(() =>
      expect(source.problems()).toMatchObject([{ file: "a.yaml", field: expect.stringMatching(/^line \d+/) }]),
    );
    expect(names(source)).toEqual(["api", "web"]);
    await replace(folder, "a.yaml", podObject({ name: "new" }));
    await until(() => expect(names(source)).toEqual(["api", "new"]));
    expect(source.problems()).toEqual([]);
  });

  test("spoil only their own object: the others of the file change", async () => {
    const { folder, source } = await started({ "a.yaml": [web, strict] });
    const bad = policyObject("PeerAuthentication", "default", { mtls: { mode: "STRICTEST" } });
    await replace(folder, "a.yaml", [api, bad]);
    await until(() => expect(names(source)).toEqual(["api"]));
    expect([...source.view.peerAuthentications()]).toMatchObject([{ mode: "STRICT" }]);
    expect(source.problems()).toMatchObject([
      { file: "a.yaml", object: "PeerAuthentication shop/default", field: "spec.mtls.mode" },
    ]);
  });

  test("keep the last good version, not the last safe reading", async () => {
    const permissive = policyObject("PeerAuthentication", "default", { mtls: { mode: "PERMISSIVE" } });
    const bad = policyObject("PeerAuthentication", "default", { mtls: { mode: "x" } });
    const { folder, source } = await started({ "a.yaml": bad });
    expect([...source.view.peerAuthentications()]).toMatchObject([{ mode: "STRICT" }]);
    await replace(folder, "a.yaml", permissive);
    await until(() => expect([...source.view.peerAuthentications()]).toMatchObject([{ mode: "PERMISSIVE" }]));
    await replace(folder, "a.yaml", bad);
    await until(() => expect(source.problems()).toHaveLength(1));
    expect([...source.view.peerAuthentications()]).toMatchObject([{ mode: "PERMISSIVE" }]);
  });

  test("without a name are told as far as they go, and hide nothing of their file", async () => {
    const { folder, source } = await started({ "a.yaml": [web] });
    await replace(folder, "a.yaml", [{ apiVersion: "v1", kind: "Pod", metadata: { namespace: "shop" } }]);
    await until(() =>
      expect(source.problems()).toMatchObject([{ file: "a.yaml", object: "Pod shop", field: "metadata.name" }]),
    );
    expect(names(source)).toEqual(["web"]);
  });

  test("that repeat an object of another file or of their own lose, and say so", async () => {
    const twin = podObject({ name: "web", ips: ["10.9.9.9"] });
    const { source } = await started({ "a.yaml": [web, twin], "b.yaml": twin });
    expect(source.view.workloadByAddress("10.0.0.1")?.name).toBe("web");
    expect(source.problems().map(({ file, object }) => `${file} ${object}`)).toEqual([
      "a.yaml Pod shop/web",
      "b.yaml Pod shop/web",
    ]);
  });

  test("of an unknown version of our own kinds are rejected, of other groups ignored", async () => {
    const { source } = await started({
      "a.yaml": [
        { ...strict, apiVersion: "security.istio.io/v1alpha1" },
        { ...strict, apiVersion: "example.com/v1" },
      ],
    });
    expect([...source.view.peerAuthentications()]).toEqual([]);
    expect(source.problems()).toMatchObject([{ field: "apiVersion" }]);
  });

  test("are told to listeners once per change of the list", async () => {
    const { folder, source } = await started({ "a.yaml": web });
    const heard: number[] = [];
    source.onProblems((problems) => heard.push(problems.length));
    await replace(folder, "a.yaml", "{");
    await until(() => expect(heard).toEqual([1]));
    await source.refresh();
    await replace(folder, "a.yaml", web);
    await until(() => expect(heard).toEqual([1, 0]));
  });

  test("an alias bomb is refused", async () => {
    const levels = Array.from(
      { length: 12 },
      (_, index) => `l${index + 1}: &l${index + 1} [${Array(10).fill(`*l${index}`).join(",")}]`,
    );
    const { source } = await started({ "a.yaml": `l0: &l0 x\n${levels.join("\n")}\n`, "b.yaml": web });
    expect(source.problems()).toMatchObject([{ file: "a.yaml", message: expect.stringContaining("alias") }]);
    expect(names(source)).toEqual(["web"]);
  });
});
