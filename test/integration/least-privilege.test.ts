/** The agent with the rights that its DaemonSet gives it, and none beside: the mesh works. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { capabilities } from "../../deploy/source/node.ts";
import { Lab } from "../../src/lab/lab.ts";
import { documents, idle, service, web } from "../lab/fixtures.ts";

const namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: production, labels: {warren.dev/mode: ambient}}}";

/** As container runtimes start what is not privileged: with the granted capabilities alone, and /proc/sys for reading. */
const launcher = [
  "unshare",
  "--mount",
  "sh",
  "-c",
  'mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"',
  "sh",
  "setpriv",
  `--bounding-set=-all,${capabilities.map(({ value }) => `+${value.toLowerCase()}`).join(",")}`,
  "--inh-caps=-all",
  "--",
];

describe.each(["ebpf", "nftables"] as const)("an agent with the DaemonSet's rights, capturing by %s", (backend) => {
  let lab: Lab;
  beforeAll(async () => {
    const manifests = [documents(namespace, web(), service("web"), idle("one", "node-2"))];
    lab = await Lab.up({ manifests, backend, agentLauncher: launcher }, AbortSignal.timeout(90_000));
    await lab.waitReady();
  });
  afterAll(() => lab?.down());

  it("enrols its pods, carries their traffic and gives them back", async () => {
    const ask = async () => (await lab.exec("one", ["curl", "-sS", "--max-time", "15", "http://web.production/"])).code;
    const states = async () => {
      const dumps = await Promise.all(["node-1", "node-2"].map((node) => lab.adminJson(node, "/config_dump")));
      return (dumps as { pods: { state: string }[] }[]).flatMap(({ pods }) => pods.map(({ state }) => state));
    };
    const tunnels = async () => ((await lab.adminJson("node-2", "/tunnels")) as unknown[]).length;
    const eventually = { timeout: 60_000 };
    await expect.poll(states, eventually).toEqual(["captured", "captured"]);
    await expect.poll(ask, eventually).toBe(0);
    expect(await tunnels()).toBeGreaterThan(0);
    await lab.labelNamespace("production", { "warren.dev/mode": "none" });
    await expect.poll(states, eventually).toEqual([]);
    expect(await ask()).toBe(0);
  });
});
