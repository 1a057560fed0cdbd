/** Certificates, the intermediate and the root are exchanged under a running load: no request fails, and nothing has to be restarted. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { Lab } from "../../src/lab/lab.ts";
import { rootCertificateFile } from "../../src/lab/operator-door.ts";
import { documents, idle, service, web } from "../lab/fixtures.ts";
import { SteadyLoad } from "./support/steady-load.ts";
import { type Said, warren, warrenRunning } from "./support/warren.ts";

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: production, labels: {warren.dev/mode: ambient}}}";
const tries = { timeout: 60_000, interval: 100 };

interface Certificate {
  readonly identity: string;
  readonly serial: string;
}

interface Step {
  readonly step: string;
  readonly rotation?: { readonly confirmed: string[]; readonly waiting: { node: string; reason: string }[] };
}

describe("a mesh under load whose certificates are exchanged", () => {
  let lab: Lab;
  beforeAll(async () => {
    // Tunnels that nobody uses go at once, so that there are handshakes all the time.
    // Certificates are renewed at half of this: a replica of control that starts on a busy machine must be back within the other half.
    const agentSettings = { certificates: { lifetime: "40s" }, timeouts: { tunnelIdle: "1s" } };
    const controlSettings = { certificateLifetime: "40s", rootSettle: "0s" };
    const pods = [idle("one", "node-2"), idle("two", "node-2"), idle("away", "node-3")];
    const manifests = [documents(namespace, web(), service("web"), ...pods)];
    const options = { nodes: 3, controlReplicas: 2, manifests, agentSettings, controlSettings };
    lab = await Lab.up(options, AbortSignal.timeout(90_000));
    await lab.waitReady();
  });
  afterAll(() => lab?.down());

  let old = "";
  let load: SteadyLoad;
  let handshakes: Handshakes;
  beforeEach(() => {
    load = new SteadyLoad(lab, "one", "http://web/");
    handshakes = new Handshakes(lab, "two");
  });

  const replicas = () =>
    (lab.mesh?.controls ?? []).map(({ daemon }, index) => {
      const name = index === 0 ? "control" : `control-${index + 1}`;
      return { daemon, config: join(lab.folder, "control", `${name}.yaml`) };
    });
  const ca = (...args: readonly string[]): Promise<Said> => warren(lab, "ca", ...args);
  const certificates = async (node: string) => (await lab.adminJson(node, "/certs")) as Certificate[];
  const published = () => readFileSync(rootCertificateFile(lab.folder), "utf8");
  const nothingFailed = async () => {
    const { answered, failed } = await load.stop();
    const { failed: unfinished, asked } = await handshakes.stop();
    expect(failed).toEqual([]);
    expect(unfinished).toEqual([]);
    expect(answered).toBeGreaterThan(100);
    expect(asked).toBeGreaterThan(1);
  };

  it("renews every certificate", async () => {
    const before = await certificates("node-2");
    await expect
      .poll(async () => {
        const serials = (await certificates("node-2")).map(({ serial }) => serial);
        return before.filter(({ serial }) => serials.includes(serial));
      }, tries)
      .toEqual([]);
    await nothingFailed();
  });

  it("exchanges the intermediate at once; what the old one issued goes on beside the new", async () => {
    const before = JSON.parse((await ca("status", "-o", "json")).stdout) as { certificates: { serial: string }[] };
    const { code, stdout } = await ca("rotate", "--intermediate", "-o", "json");
    expect(code).toBe(0);
    const { intermediate } = JSON.parse(stdout) as { intermediate: string };
    expect(before.certificates.map(({ serial }) => serial)).not.toContain(intermediate);
    await lab.apply(idle("late", "node-2"));
    await expect.poll(async () => (await curl(lab, "late")).code, tries).toBe(0);
    await nothingFailed();
  });

  it("rotates the root step by step: through the loss of a replica, and waiting for an agent that is away", async () => {
    old = published();
    await lab.stopAgent("node-3");
    const { lines, ended } = warrenRunning(lab, "ca", "rotate", "-o", "json");
    const steps = () => lines.map((line) => JSON.parse(line) as Step);
    const waitsFor = () => steps().at(-1)?.rotation;
    await expect.poll(waitsFor, tries).toMatchObject({
      confirmed: ["node-1", "node-2"],
      waiting: [{ node: "node-3", reason: "its agent is not connected" }],
    });
    expect(published()).toContain(old.trim());
    expect(published()).not.toBe(old);

    // The replica that the verb listens to, and with it what it knew.
    await lab.mesh?.control.daemon.kill();
    await lab.mesh?.control.daemon.start();
    await lab.startAgent("node-3");
    expect(await ended).toBe(0);
    const told = steps().map(({ step }) => step);
    // The verb may have looked for control while the new root began to issue.
    expect(told.filter((step) => step !== "waiting" && step !== "issue")).toEqual(["trust", "retired"]);

    await expect.poll(published, tries).not.toContain(old.trim());
    await nothingFailed();
  });

  it("shows the new chain at a workload's own port, which the old root does not vouch for", async () => {
    const verify = async (rootFile: string) => {
      const address = `${lab.pod("web").ips[0] ?? ""}:15008`;
      const options = ["--endpoint", address, "--roots", rootFile, "--timeout", "30s", "-o", "json"];
      const { code, stdout } = await lab.execOnNode("node-1", [process.execPath, main, "ca", "verify", ...options]);
      return { code, results: (JSON.parse(stdout) as { results: object[] }).results };
    };
    expect(await verify(rootCertificateFile(lab.folder))).toMatchObject({
      code: 0,
      results: [{ verdict: "trusted", proves: "spiffe://cluster.local/ns/production/sa/default" }],
    });
    const former = join(lab.folder, "former-root.pem");
    writeFileSync(former, old);
    expect(await verify(former)).toMatchObject({ code: 1, results: [{ verdict: "refused", reason: "tls-failed" }] });
    await nothingFailed();
  });

  it("moves to another trust domain: first every agent accepts it, then it is the mesh's own", async () => {
    const configure = async (trustDomain: string, alias: string) => {
      for (const { daemon, config } of replicas()) {
        const settings = parse(readFileSync(config, "utf8")) as Record<string, unknown>;
        writeFileSync(config, stringify({ ...settings, trustDomain, mesh: { trustDomainAliases: [alias] } }));
        await daemon.kill();
        await daemon.start();
        // One after the other, as a Deployment does: certificates of seconds do not outlive both of them.
        await lab.waitReady();
      }
      const aliases = async (node: string) =>
        ((await lab.adminJson(node, "/config_dump")) as { settings: { trustDomainAliases: string[] } }).settings;
      for (const node of lab.nodes())
        await expect.poll(() => aliases(node), tries).toMatchObject({ trustDomain, trustDomainAliases: [alias] });
    };
    await configure("cluster.local", "new.example");
    await configure("new.example", "cluster.local");
    for (const node of lab.nodes()) {
      const identities = async () => (await certificates(node)).map(({ identity }) => identity);
      await expect.poll(identities, tries).toEqual(["spiffe://new.example/ns/production/sa/default"]);
    }
    await nothingFailed();
  }, 300_000);

  it("goes on without an agent that somebody excuses by name, and takes it back when it returns", async () => {
    await lab.stopAgent("node-3");
    expect((await ca("rotate", "--no-wait")).code).toBe(0);
    const excuse = async () => {
      await expect.poll(async () => (await ca("status")).stdout, tries).toMatch(/waiting for node-3: its agent is not/);
      await expect.poll(async () => (await ca("status")).stdout, tries).toMatch(/confirmed by 2 nodes/);
      expect((await ca("rotate", "--no-wait", "--force", "node-2")).stderr).toContain("does not wait for node-2");
      expect((await ca("rotate", "--no-wait", "--force", "node-3")).code).toBe(0);
    };
    await excuse();
    await expect.poll(async () => (await ca("status")).stdout, tries).toContain("the new root issues");
    await excuse();
    await expect.poll(async () => (await ca("status")).stdout, tries).toContain("No rotation of the root is under way");
    await nothingFailed();
    load = new SteadyLoad(lab, "one", "http://web/");
    handshakes = new Handshakes(lab, "two");
    await lab.startAgent("node-3");
    await expect.poll(async () => (await curl(lab, "away")).code, tries).toBe(0);
    await nothingFailed();
  });
});

function curl(lab: Lab, pod: string) {
  return lab.exec(pod, ["curl", "-sS", "--max-time", "10", "http://web.production/"]);
}

/** A client that comes back only when its tunnel is gone: every request of it is a handshake. */
class Handshakes {
  readonly #failed: string[] = [];
  readonly #ended: Promise<void>;
  #asked = 0;
  #going = true;

  constructor(lab: Lab, pod: string) {
    this.#ended = this.#run(lab, pod);
  }

  async stop(): Promise<{ readonly asked: number; readonly failed: readonly string[] }> {
    this.#going = false;
    await this.#ended;
    return { asked: this.#asked, failed: this.#failed };
  }

  async #run(lab: Lab, pod: string): Promise<void> {
    do {
      const { code, stderr } = await curl(lab, pod);
      this.#asked++;
      if (code !== 0) this.#failed.push(stderr);
      // More than a tunnel may idle.
      await pause(1200);
    } while (this.#going || this.#asked < 2);
  }
}
