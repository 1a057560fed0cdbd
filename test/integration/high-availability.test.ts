/** Two replicas of the control plane, one of them killed at any time while the mesh changes: nobody loses anything. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { documents, idle, service, web } from "../lab/fixtures.ts";
import { SteadyLoad } from "./support/steady-load.ts";

const namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: production, labels: {warren.dev/mode: ambient}}}";
const outsider = idle("outsider", "node-2").replace("name: outsider", "name: outsider, namespace: outside");
const tries = { timeout: 60_000, interval: 50 };
const longTries = { timeout: 120_000, interval: 100 };
const ownOnly = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: own-only, namespace: production}
spec: {rules: [{from: [{source: {namespaces: [production]}}]}]}
`;

/** Of certificates that outlive an outage which lasts beyond their renewal. */
const longLife = "60s";

/** Pods of as many identities: their renewals are due together. */
function accounts(): string[] {
  return Array.from({ length: 6 }, (_, at) => [
    `{apiVersion: v1, kind: ServiceAccount, metadata: {name: account-${at}}}`,
    idle(`pod-${at}`, `node-${1 + (at % 2)}`, `serviceAccountName: account-${at}`),
  ]).flat();
}

interface Dump {
  readonly pods: readonly { readonly name: string; readonly state: string }[];
  readonly workloads: readonly { readonly name: string }[];
}

interface CertificateRow {
  readonly serial: string;
  readonly notAfter: string;
  readonly failures: number;
}

/** What is left of it, milliseconds. */
const lifeOf = ({ notAfter }: CertificateRow) => Date.parse(notAfter) - Date.now();

describe("a control plane of two replicas", () => {
  let lab: Lab;
  beforeAll(async () => {
    // Certificates of a few seconds, so that renewals fall into every outage.
    const controlSettings = { log: { format: "json" }, certificateLifetime: "20s" };
    const agentSettings = { log: { format: "json" }, certificates: { lifetime: longLife } };
    const manifests = [documents(namespace, web(), service("web"), idle("one", "node-2"), outsider, ...accounts())];
    lab = await Lab.up({ manifests, controlReplicas: 2, controlSettings, agentSettings }, AbortSignal.timeout(90_000));
    await lab.waitReady();
  });
  afterAll(() => lab?.down());

  const dump = async (node: string) => (await lab.adminJson(node, "/config_dump")) as Dump;
  const captured = async (node: string) =>
    (await dump(node)).pods.filter(({ state }) => state === "captured").map(({ name }) => name);
  const serials = async () =>
    new Map(
      ((await lab.adminJson("node-2", "/certs")) as { identity: string; serial: string }[]).map(
        ({ identity, serial }) => [identity, serial] as const,
      ),
    );
  const replicas = () => lab.mesh?.controls ?? [];
  const ask = async (from: string) =>
    (await lab.exec(from, ["curl", "-sS", "--max-time", "15", "http://web.production/"])).code;

  it("is two processes, ready both", async () => {
    expect((await lab.status()).mesh.map(({ name, ready }) => [name, ready])).toEqual([
      ["control", true],
      ["control-2", true],
      ["agent/node-1", true],
      ["agent/node-2", true],
    ]);
  });

  it("may lose either at any time under churn: no request fails, no agent forgets, certificates renew", async () => {
    const load = new SteadyLoad(lab, "one", "http://web/");
    const known = (await dump("node-1")).workloads.length;
    let fewest = known;
    const watching = new AbortController();
    const watch = (async () => {
      // An agent that a stall keeps from answering has forgotten nothing.
      const seen = () =>
        dump("node-1").then(
          ({ workloads }) => workloads.length,
          () => known,
        );
      while (!watching.signal.aborted) fewest = Math.min(fewest, await seen());
    })();
    onTestFinished(() => watching.abort());
    const before = await serials();
    for (const [round, { daemon }] of replicas().entries()) {
      // Identities that nobody had: the replica that is left issues for each of them.
      const late = ["a", "b", "c", "d"].map((letter) => `late-${round}-${letter}`);
      const change = lab.apply(documents(...late.map((name) => idle(name, "node-2", `serviceAccountName: ${name}`))));
      await daemon.kill();
      await change;
      await expect.poll(() => captured("node-2"), tries).toEqual(expect.arrayContaining(late));
      for (const name of late) await expect.poll(() => ask(name), tries).toBe(0);
      await daemon.start();
      await lab.waitReady();
    }
    // Renewals fell into the outages: of what was there when the first began, each is another by now, or a moment later.
    await expect
      .poll(async () => [...(await serials())].filter(([identity, serial]) => before.get(identity) === serial), tries)
      .toEqual([]);
    watching.abort();
    await watch;
    const { answered, failed } = await load.stop();
    expect(failed).toEqual([]);
    expect(answered).toBeGreaterThan(100);
    expect(fewest).toBe(known);
    // A request that met a replica which was just gone is tried again, and then there is the other one.
    for (const node of lab.nodes()) expect(await longestRunOfFailures(node)).toBeLessThanOrEqual(1);
  });

  it("may be away past the time of renewals: traffic, new connections and policy go on, and all are renewed in time", {
    timeout: 400_000,
  }, async () => {
    await lab.apply(ownOnly);
    await expect.poll(() => ask("outside/outsider"), tries).not.toBe(0);
    const restarting = new SteadyLoad(lab, "one", "http://web/");
    for (const { daemon } of replicas()) {
      const config = join(lab.folder, "control", `${daemon.name}.yaml`);
      await writeFile(config, (await readFile(config, "utf8")).replace(/(certificateLifetime:) \S+/, `$1 ${longLife}`));
      await daemon.kill();
      await daemon.start();
      await lab.waitReady();
    }
    expect((await restarting.stop()).failed).toEqual([]);
    // Agents that start anew ask for all certificates at once: none ends before the last has been asked for in vain.
    await Promise.all(lab.nodes().map((node) => lab.killAgent(node).then(() => lab.startAgent(node))));
    await lab.waitReady();
    // Agents are ready before they have asked for the certificates of all their pods.
    await expect
      .poll(async () => (await certificates()).filter((row) => lifeOf(row) > 45_000).length, tries)
      .toBeGreaterThanOrEqual(8);
    await expect.poll(() => ask("one"), tries).toBe(0);
    const load = new SteadyLoad(lab, "one", "http://web/");
    await Promise.all(replicas().map(({ daemon }) => daemon.kill()));
    const before = await certificates();
    // Half of their life goes by, and then some rounds in vain for each.
    await expect
      .poll(async () => Math.min(...(await certificates()).map(({ failures }) => failures)), longTries)
      .toBeGreaterThanOrEqual(3);
    expect(await ask("one")).toBe(0);
    expect(await ask("outside/outsider")).not.toBe(0);
    expect(JSON.stringify(await problems("node-2"))).toContain("cannot be reached");
    await Promise.all(replicas().map(({ daemon }) => daemon.start()));
    const old = new Set(before.map(({ serial }) => serial));
    await expect
      .poll(async () => (await certificates()).filter(({ serial }) => old.has(serial)), longTries)
      .toEqual([]);
    expect((await load.stop()).failed).toEqual([]);
    await lab.delete("AuthorizationPolicy", "production", "own-only");
    await expect.poll(() => ask("outside/outsider"), tries).toBe(0);
  });

  async function certificates(): Promise<CertificateRow[]> {
    const rows = await Promise.all(lab.nodes().map((node) => lab.adminJson(node, "/certs")));
    return rows.flat() as CertificateRow[];
  }

  async function problems(node: string): Promise<unknown> {
    return ((await lab.adminJson(node, "/config_dump")) as { problems: unknown }).problems;
  }

  /** Refusals of one identity's requests in a row, as the agent's log tells them. */
  async function longestRunOfFailures(node: string): Promise<number> {
    const runs = new Map<string, number>();
    let longest = 0;
    for (const line of (await lab.agentLog(node)).split("\n")) {
      if (!line.includes('"certificates"') || !line.endsWith("}")) continue;
      const { identity = "", message } = JSON.parse(line) as { identity?: string; message: string };
      const failed = message !== "certificate in force";
      const run = failed ? (runs.get(identity) ?? 0) + 1 : 0;
      runs.set(identity, run);
      longest = Math.max(longest, run);
    }
    return longest;
  }
});
