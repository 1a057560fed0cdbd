import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { documents, idle, service, web } from "../lab/fixtures.ts";

const namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: production, labels: {warren.dev/mode: ambient}}}";
const outside = idle("outsider", "node-2").replace("name: outsider", "name: outsider, namespace: outside");
const deny = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nobody, namespace: production}
spec: {action: DENY, rules: [{from: [{source: {namespaces: [production]}}]}]}
`;

describe("a mesh whose agents hear its state from the control plane", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.up(
      { manifests: [documents(namespace, web(), service("web"), idle("one", "node-2"), outside)] },
      AbortSignal.timeout(90_000),
    );
    await lab.waitReady();
  });
  afterAll(() => lab?.down());

  const ask = async (from = "one") =>
    (await lab.exec(from, ["curl", "-sS", "--max-time", "15", "http://web.production/"])).code;
  const pods = async (node: string): Promise<string[]> => {
    const dump = (await lab.adminJson(node, "/config_dump")) as { pods: { name: string; state: string }[] };
    return dump.pods.filter(({ state }) => state === "captured").map(({ name }) => name);
  };
  const eventually = { timeout: 60_000 };

  it("carries requests through the tunnel", async () => {
    await expect.poll(() => ask(), eventually).toBe(0);
    const tunnels = (await lab.adminJson("node-2", "/tunnels")) as unknown[];
    expect(tunnels.length).toBeGreaterThan(0);
  });

  it("enrols and releases pods as their namespace is labelled", async () => {
    await lab.labelNamespace("outside", { "warren.dev/mode": "ambient" });
    await expect.poll(() => pods("node-2"), eventually).toContain("outsider");
    await lab.labelNamespace("outside", { "warren.dev/mode": null });
    await expect.poll(() => pods("node-2"), eventually).toEqual(["one"]);
  });

  it("enforces a policy that comes and lets go when it leaves", async () => {
    await lab.apply(deny);
    await expect.poll(() => ask(), eventually).not.toBe(0);
    await lab.delete("AuthorizationPolicy", "production", "nobody");
    await expect.poll(() => ask(), eventually).toBe(0);
  });

  it("goes on while control is away, and an agent that starts meanwhile has the mesh", async () => {
    await lab.mesh?.control.daemon.kill();
    expect(await ask()).toBe(0);
    expect(await ask()).toBe(0);
    await lab.stopAgent("node-1");
    await lab.startAgent("node-1");
    await expect.poll(() => pods("node-1").catch(() => []), eventually).toEqual([lab.pod("web").name]);
    // Plaintext needs no certificate, which only control could have given to the new process.
    await expect.poll(() => ask("outside/outsider"), eventually).toBe(0);
    await lab.mesh?.control.daemon.start();
    await lab.waitReady();
    await expect.poll(() => ask(), eventually).toBe(0);
    await lab.delete("Pod", "outside", "outsider");
    await lab.labelNamespace("production", { "warren.dev/mode": null });
    await expect.poll(() => pods("node-1"), eventually).toEqual([]);
  });
});
