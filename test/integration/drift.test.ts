/** What captured pods rest on is taken away by somebody with the right to: the agent finds it, sets it right, and tells. */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { client, documents, namespaces, server } from "./support/cast.ts";

const node = "node-1";
const eventually = { timeout: 60_000, interval: 50 };

describe("an agent whose state in the kernel is changed by others", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.up(
      {
        nodes: 1,
        backend: "ebpf",
        agentSettings: { enrolment: { verify: "1s" } },
        manifests: [documents(namespaces, server(node), client("one", node))],
      },
      AbortSignal.timeout(90_000),
    );
    await lab.waitReady();
  });
  afterAll(() => lab?.down());

  const pins = () => join(lab.node(node).bpffs, "warren", "v1");
  const ask = async () => (await lab.exec("one", ["curl", "-sS", "--max-time", "5", "http://server:8080/"])).code;

  async function onNode(...argv: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await lab.execOnNode(node, argv);
    expect({ argv, code, stderr }).toMatchObject({ code: 0 });
    return stdout;
  }

  async function metric(line: string): Promise<number> {
    const { body } = await lab.node(node).prober.get("127.0.0.1", 15_020, "/metrics", 30_000);
    return Number(
      body
        .split("\n")
        .find((text) => text.startsWith(`${line} `))
        ?.split(" ")[1] ?? 0,
    );
  }
  const repairs = () => metric('warren_capture_repairs_total{what="redirection"}');

  /** Both pods are probed through the real path every second: a moment after the harm there is at least one more repair. */
  async function repaired(harm: () => Promise<unknown>): Promise<void> {
    const before = await repairs();
    await harm();
    await expect.poll(repairs, eventually).toBeGreaterThan(before);
    await expect.poll(ask, eventually).toBe(0);
    // Through the tunnel, not past it.
    const tunnels = (await lab.adminJson(node, "/tunnels")) as unknown[];
    expect(tunnels).not.toEqual([]);
  }

  it("attaches the programs of the pods' cgroup again", async () => {
    await repaired(() => onNode("bpftool", "link", "detach", "pinned", join(pins(), "links", "connect4")));
    await repaired(() => onNode("rm", join(pins(), "links", "sockops")));
    await expect
      .poll(async () => (await onNode("ls", join(pins(), "links"))).split("\n"), eventually)
      .toEqual(expect.arrayContaining(["connect4", "connect6", "sockops"]));
    await expect
      .poll(() => lab.agentLog(node), eventually)
      .toMatch(/somebody took programs away from the pods' cgroup \(connect4\)/);
  });

  it("puts a pod's own program back", async () => {
    const uid = lab.store.get("Pod", "production", "server")?.metadata.uid ?? "";
    await repaired(() => onNode("rm", "-r", join(pins(), "pods", uid)));
    await expect.poll(() => onNode("ls", join(pins(), "pods", uid)), eventually).toMatch(/^\d+\n$/);
  });

  it("puts lost listeners back", async () => {
    const map = join(pins(), "maps", "listeners");
    const entries = async () =>
      JSON.parse(await onNode("bpftool", "-j", "map", "dump", "pinned", map)) as { key: string[] }[];
    // The repair before this one may be under way.
    await expect.poll(async () => (await entries()).length, eventually).toBe(12);
    await repaired(async () => {
      for (const { key } of await entries())
        await onNode("bpftool", "map", "delete", "pinned", map, "key", "hex", ...key.map((byte) => byte.slice(2)));
    });
    await expect.poll(async () => (await entries()).length, eventually).toBe(12);
  });

  it("removes what is pinned for a pod that is nowhere", async () => {
    const removed = () => metric("warren_capture_leftovers_removed_total");
    const before = await removed();
    const ghost = join(pins(), "pods", "ghost");
    const own = lab.store.get("Pod", "production", "one")?.metadata.uid ?? "";
    const [cookie = ""] = (await onNode("ls", join(pins(), "pods", own))).split("\n");
    await onNode("mkdir", ghost);
    const link = JSON.parse(
      await onNode("bpftool", "-j", "link", "show", "pinned", join(pins(), "pods", own, cookie)),
    ) as { id: number };
    await onNode("bpftool", "link", "pin", "id", String(link.id), join(ghost, "4711"));
    await expect.poll(removed, eventually).toBe(before + 1);
    expect(await onNode("ls", join(pins(), "pods"))).not.toContain("ghost");
    await expect.poll(ask, eventually).toBe(0);
  });
});
