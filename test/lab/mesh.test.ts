import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { overlay } from "../../src/lab/mesh/settings.ts";
import { documents, idle, service, web } from "./fixtures.ts";

const namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: production, labels: {warren.dev/mode: ambient}}}";
const manifests = [documents(namespace, web(), service("web"), idle("one", "node-2"))];

function up(): Promise<Lab> {
  return Lab.up({ manifests, agentSettings: { log: { format: "json" } } }, AbortSignal.timeout(90_000));
}

async function captured(lab: Lab, node: string): Promise<string[]> {
  const dump = (await lab.adminJson(node, "/config_dump")) as { pods: { name: string; state: string }[] };
  return dump.pods.filter(({ state }) => state === "captured").map(({ name }) => name);
}

describe("overlay", () => {
  it("joins maps, and replaces everything else", () => {
    const base = { node: "a", capture: { backend: "auto", pin: "p" }, list: [1, 2] };
    expect(overlay(base, { capture: { backend: "ebpf" }, list: [3], engine: "native" })).toEqual({
      node: "a",
      capture: { backend: "ebpf", pin: "p" },
      list: [3],
      engine: "native",
    });
  });
});

describe("a lab with the mesh", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await up();
    await lab.waitReady();
  });
  afterAll(() => lab.down());

  it("runs each agent on its node, outside the pods' cgroup, with a bpffs that the machine does not see", async () => {
    for (const name of lab.nodes()) {
      const node = lab.node(name);
      const pid = lab.mesh?.agent(name).pid;
      expect(readFileSync(`/proc/${pid}/cgroup`, "utf8")).toContain(`warren-lab-${lab.id}/${name}/agent`);
      const { stdout } = await lab.execOnNode(name, ["ls", join(node.bpffs, "warren")]);
      expect(stdout).not.toBe("");
      expect(readdirSync(node.bpffs)).toEqual([]);
    }
  });

  it("asks agents for their state from inside their nodes", async () => {
    expect(await lab.adminGet("node-1", "/no-such-page")).toMatchObject({ status: 404 });
    expect(await captured(lab, "node-2")).toEqual(["one"]);
    expect((await lab.status()).mesh.map(({ name, ready }) => [name, ready])).toEqual([
      ["control", true],
      ["agent/node-1", true],
      ["agent/node-2", true],
    ]);
  });

  it("gives agents the settings of the lab's maker", async () => {
    expect(await lab.agentLog("node-1")).toMatch(/^\{"/);
  });

  it("shows agents pods that come and go, and namespaces that are labelled", async () => {
    await lab.apply(
      documents(
        idle("late", "node-1"),
        idle("outsider", "node-1").replace("name: outsider", "name: outsider, namespace: outside"),
      ),
    );
    await expect.poll(() => captured(lab, "node-1"), { timeout: 30_000 }).toContain("late");
    await lab.labelNamespace("outside", { "warren.dev/mode": "ambient" });
    await expect.poll(() => captured(lab, "node-1"), { timeout: 30_000 }).toContain("outsider");
    await lab.labelNamespace("outside", { "warren.dev/mode": null });
    await lab.delete("Pod", "production", "late");
    await expect.poll(() => captured(lab, "node-1"), { timeout: 30_000 }).toEqual([lab.pod("web").name]);
  });

  it("stops, kills and starts agents; one that is away is not ready, and one that comes back is", async () => {
    const ask = () => lab.exec("one", ["curl", "-sS", "--max-time", "15", "http://web/"]);
    const before = lab.mesh?.agent("node-1").pid;
    await lab.killAgent("node-1");
    await expect(lab.waitReady({ timeoutMs: 1 })).rejects.toThrow(/agent\/node-1 does not run/);
    expect((await ask()).code).not.toBe(0);
    expect(lab.pod("web").ready).toBe(true);
    await lab.startAgent("node-1");
    await lab.waitReady();
    expect(lab.mesh?.agent("node-1").pid).not.toBe(before);
    await expect.poll(async () => (await ask()).code, { timeout: 30_000 }).toBe(0);
    await lab.stopAgent("node-2");
    await lab.startAgent("node-2");
    await lab.waitReady();
    await expect.poll(async () => (await ask()).code, { timeout: 30_000 }).toBe(0);
  });

  it("says at once, in the words of its log, when an agent ended by itself", async () => {
    const wrong = await Lab.up({ manifests, agentSettings: { log: { level: "loud" } } }, AbortSignal.timeout(90_000));
    try {
      await expect(wrong.waitReady()).rejects.toThrow(
        /^agent\/node-\d ended with code 2; its log \(.+\) says: .+log\.level/s,
      );
    } finally {
      await wrong.down();
    }
  });

  it("runs beside another lab with a mesh of its own", async () => {
    const other = await up();
    try {
      await other.waitReady();
      for (const each of [lab, other])
        expect((await each.exec("one", ["curl", "-sS", "--max-time", "15", "http://web/"])).stdout).toContain(
          each.pod("web").name,
        );
    } finally {
      await other.down();
    }
    expect((await lab.exec("one", ["curl", "-sS", "--max-time", "15", "http://web/"])).code).toBe(0);
  });
});
