/** What an operator of a running agent rests on: bad objects change nothing, the log level moves, readiness and the drain tell. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { readinessPort } from "../../src/lab/mesh/agents.ts";
import { documents, idle, service, web } from "../lab/fixtures.ts";

const namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: production, labels: {warren.dev/mode: ambient}}}";
const outsider = idle("outsider", "node-1").replace("name: outsider", "name: outsider, namespace: outside");
const tries = { timeout: 60_000, interval: 50 };

let lab: Lab;
beforeAll(async () => {
  const manifests = [
    documents(namespace, web().replace("spec:\n      affinity", "spec:\n      nodeName: node-2\n      affinity")),
    documents(service("web"), idle("one", "node-1"), outsider),
  ];
  const agentSettings = { log: { format: "json" }, drain: { deadline: "200ms" } };
  const controlSettings = { log: { format: "json" } };
  lab = await Lab.up({ nodes: 2, manifests, agentSettings, controlSettings }, AbortSignal.timeout(90_000));
  await lab.waitReady();
});
afterAll(() => lab?.down());

function mtls(mode: string): string {
  return `{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default}, spec: {mtls: {mode: ${mode}}}}`;
}

async function answered(pod: string): Promise<boolean> {
  const { code } = await lab.exec(pod, ["curl", "-sS", "--max-time", "15", "http://web.production/"]);
  return code === 0;
}

function parsed(log: string): Record<string, unknown>[] {
  // The last line may not be whole yet.
  const lines = log.split("\n").filter((line) => line.startsWith("{") && line.endsWith("}"));
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

async function logLines(node: string, scope: string): Promise<Record<string, unknown>[]> {
  return parsed(await lab.agentLog(node)).filter((line) => line["scope"] === scope);
}

async function controlLines(): Promise<Record<string, unknown>[]> {
  return parsed(await readFile(lab.logPath("control"), "utf8"));
}

describe("a manifest that becomes wrong while agents run", () => {
  it("leaves its last good version in force, and control tells file, object and field", async () => {
    // Certificates come a moment after the agents are ready: what is refused from here on is for what was applied.
    for (const pod of ["one", "outside/outsider"]) await expect.poll(() => answered(pod), tries).toBe(true);
    await lab.apply(mtls("STRICT"));
    await expect.poll(() => answered("outside/outsider"), tries).toBe(false);
    await lab.apply(mtls("STRCIT"));
    const problem = {
      file: expect.stringMatching(/PeerAuthentication.*\.yaml$/i),
      object: expect.stringContaining("production/default"),
      field: "spec.mtls.mode",
    };
    await expect.poll(controlLines, tries).toContainEqual(expect.objectContaining(problem));
    expect(await answered("outside/outsider")).toBe(false);
    expect(await answered("one")).toBe(true);
    await lab.apply(mtls("PERMISSIVE"));
    await expect.poll(() => answered("outside/outsider"), tries).toBe(true);
  });
});

describe("the log of a running agent", () => {
  it("tells more when it is asked to over the admin port, and less again", async () => {
    const set = (level: string) =>
      lab.execOnNode("node-1", ["curl", "-sS", "-X", "POST", `http://127.0.0.1:15000/log-level?level=${level}`]);
    expect(await set("debug")).toMatchObject({ code: 0, stdout: "debug\n" });
    expect(await lab.adminGet("node-1", "/log-level")).toEqual({ status: 200, body: "debug\n" });
    expect((await set("loud")).stdout).toContain("POST /log-level?level=<");
    expect(await set("info")).toMatchObject({ stdout: "info\n" });
  });
});

describe("an agent that ends and comes back", () => {
  it("names the connection that its drain deadline cut", async () => {
    const script = `const socket = require("node:net").connect(8080, "${lab.pod("web").ips[0]}");
      socket.on("connect", () => console.log("open")).on("close", () => process.exit(3)).on("error", () => undefined)`;
    const client = lab.spawn("one", ["node", "-e", script]);
    const ended = new Promise<number | null>((resolve) => client.once("exit", resolve));
    const flows = async () =>
      (await lab.adminJson("node-1", "/flows")) as { tunnel: number; destination: { port: number } }[];
    // In its tunnel, and alone: requests of before have gone.
    await expect
      .poll(async () => (await flows()).map(({ tunnel, destination }) => [tunnel > 0, destination.port]), tries)
      .toEqual([[true, 8080]]);
    await lab.stopAgent("node-1");
    expect(await ended).toBe(3);
    const drained = await logLines("node-1", "drain");
    expect(drained).toEqual([
      expect.objectContaining({
        message: "connection cut",
        role: "outbound",
        destination: `${lab.pod("web").ips[0]}:8080`,
      }),
      expect.objectContaining({ cut: 1, message: "the drain deadline passed before all connections ended" }),
    ]);
  });

  it("names what it waits for while there is no control plane, and is ready when that is back", async () => {
    const control = lab.mesh?.control.daemon;
    await control?.stop();
    await lab.startAgent("node-1");
    const readiness = () => lab.node("node-1").prober.get("127.0.0.1", readinessPort, "/healthz/ready", 1000);
    const asked = async () => {
      try {
        const { status, body } = await readiness();
        return `${status} ${body}`;
      } catch {
        return "no answer yet";
      }
    };
    await expect.poll(asked, tries).toMatch(/^503 not ready, waiting for: pods \(\d/);
    expect(await lab.execOnNode("node-1", ["ls", join(lab.node("node-1").bpffs, "warren")])).toMatchObject({ code: 0 });
    await control?.start();
    await lab.waitReady();
    await expect.poll(asked, tries).toBe("200 ready\n");
    // Ready is: each pod was tried. Its certificate comes with the next try, now that there is somebody to ask.
    await expect.poll(() => answered("one"), tries).toBe(true);
  });
});
