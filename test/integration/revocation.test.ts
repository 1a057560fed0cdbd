/** Identities and single certificates are revoked under a running load: what they have open ends, and nothing of anybody else's. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { CertificateLine } from "../../src/cli/query/certificate-rows.ts";
import { Lab } from "../../src/lab/lab.ts";
import { warren as verb } from "../cli/support/run-cli.ts";
import { documents, idle, service, web } from "../lab/fixtures.ts";
import { echoServer, HeldLine } from "./support/held-line.ts";
import { SteadyLoad } from "./support/steady-load.ts";

const namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: production, labels: {warren.dev/mode: ambient}}}";
const echo = `
apiVersion: v1
kind: Pod
metadata: {name: echo}
spec:
  nodeName: node-1
  serviceAccountName: echo
  terminationGracePeriodSeconds: 1
  containers: [{name: echo, command: [node, -e, ${JSON.stringify(echoServer)}]}]
`;
const tries = { timeout: 60_000, interval: 50 };
const spiffe = (account: string) => `spiffe://cluster.local/ns/production/sa/${account}`;

/** A pod of its own identity. */
const client = (account: string, node: string, name = account) => idle(name, node, `serviceAccountName: ${account}`);

interface Certificate {
  readonly identity: string;
  readonly serial: string;
}

describe.each(["native", "typescript"] as const)("a mesh under load, on the %s engine", (engine) => {
  let lab: Lab;
  beforeAll(async () => {
    const far = [client("one", "node-2"), client("two", "node-2"), client("load", "node-2")];
    // On the server's own node, joined to it without a tunnel.
    const near = [client("one", "node-1", "near-one"), client("two", "node-1", "near-two")];
    const manifests = [documents(namespace, web(), service("web"), echo, ...far, ...near)];
    lab = await Lab.up({ manifests, engine, localTraffic: "auto" }, AbortSignal.timeout(90_000));
    await lab.waitReady();
  });
  afterAll(() => lab?.down());

  const warren = (...args: readonly string[]) => verb(...args, "--name", lab.id);
  const hold = (pod: string) => new HeldLine(lab, pod, lab.pod("echo").ips[0] ?? "");
  const grows = async (line: HeldLine) => {
    const { echoes } = line;
    await expect.poll(() => line.echoes, tries).toBeGreaterThan(echoes + 3);
  };
  const certificate = async (node: string, account: string) =>
    ((await lab.adminJson(node, "/certs")) as Certificate[]).find(({ identity }) => identity === spiffe(account));
  const asks = async (pod: string) =>
    (await lab.exec(pod, ["curl", "-sS", "--max-time", "15", "http://web.production/"])).code === 0;

  it("closes everything of an identity that is revoked, refuses what it tries, and touches nobody else", async () => {
    const load = new SteadyLoad(lab, "load", "http://web/");
    const [one, two, nearOne, nearTwo] = [hold("one"), hold("two"), hold("near-one"), hold("near-two")];
    for (const line of [one, two, nearOne, nearTwo]) await grows(line);

    // What two pods of a node say to each other needs none.
    for (const node of lab.nodes())
      await expect.poll(async () => (await certificate(node, "one"))?.serial ?? "", tries).not.toBe("");
    const { code, stdout } = await warren("ca", "revoke", "--identity", spiffe("one"), "-o", "json");
    expect(code).toBe(0);
    // Of both nodes that have pods of it.
    expect((JSON.parse(stdout) as { serials: string[] }).serials).toHaveLength(2);
    await expect.poll(() => [one.closed, nearOne.closed], tries).toEqual([true, true]);
    await expect.poll(() => asks("one"), tries).toBe(false);
    expect(await asks("near-one")).toBe(false);

    for (const line of [two, nearTwo]) {
      await grows(line);
      expect(line.closed).toBe(false);
    }
    expect(await asks("two")).toBe(true);

    // Its dates are good still, and say nothing.
    const told = async () => {
      const certs = await warren("certs", "-o", "json");
      const { certificates } = JSON.parse(certs.stdout) as { certificates: CertificateLine[] };
      return { code: certs.code, revoked: certificates.filter((held) => held.revoked && !held.valid) };
    };
    const both = lab.nodes().map((node) => ({ node, identity: spiffe("one"), state: "ready" }));
    await expect.poll(told, tries).toMatchObject({ code: 1, revoked: both });

    expect((await warren("ca", "restore", spiffe("one"))).code).toBe(0);
    await expect.poll(() => asks("one"), tries).toBe(true);
    await expect.poll(() => asks("near-one"), tries).toBe(true);
    const { answered, failed } = await load.stop();
    expect(failed).toEqual([]);
    expect(answered).toBeGreaterThan(50);
    await Promise.all([one, two, nearOne, nearTwo].map((line) => line.stop()));
  });

  it("closes what a revoked certificate has open; its owner goes on with another at once", async () => {
    const load = new SteadyLoad(lab, "load", "http://web/");
    const [two, nearTwo] = [hold("two"), hold("near-two")];
    for (const line of [two, nearTwo]) await grows(line);
    const { serial } = (await certificate("node-2", "two")) ?? { serial: "" };

    expect((await warren("ca", "revoke", "--serial", serial)).code).toBe(0);
    await expect.poll(() => two.closed, tries).toBe(true);
    await expect.poll(async () => (await certificate("node-2", "two"))?.serial, tries).not.toBe(serial);
    await expect.poll(() => asks("two"), tries).toBe(true);

    // The same identity on the other node has a certificate of its own.
    await grows(nearTwo);
    expect(nearTwo.closed).toBe(false);
    const { stdout } = await warren("ca", "status", "-o", "json");
    expect((JSON.parse(stdout) as { revokedSerials: Certificate[] }).revokedSerials).toContainEqual(
      expect.objectContaining({ serial }),
    );
    expect((await load.stop()).failed).toEqual([]);
    await Promise.all([two, nearTwo].map((line) => line.stop()));
  });
});
