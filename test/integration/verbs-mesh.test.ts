/** Every verb that looks at the whole mesh, in one lab of two nodes: its document against what the test itself caused. */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { Command } from "commander";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { parse as parseYaml } from "yaml";
import { listFormats } from "../../src/cli/output/mesh-flags.ts";
import { registerAll } from "../../src/cli/program.ts";
import type { CertificateLine } from "../../src/cli/query/certificate-rows.ts";
import type { Check } from "../../src/cli/query/check-report.ts";
import type { ConnectionRow } from "../../src/cli/query/connection-rows.ts";
import type { Description } from "../../src/cli/query/description.ts";
import type { NodeStatus } from "../../src/cli/query/node-statuses.ts";
import type { PolicyRow } from "../../src/cli/query/policy-rows.ts";
import type { ServiceRow } from "../../src/cli/query/service-rows.ts";
import type { WorkloadRow } from "../../src/cli/query/workload-rows.ts";
import { Lab } from "../../src/lab/lab.ts";
import { operatorSockets, operatorTokenFile, rootCertificateFile } from "../../src/lab/operator-door.ts";
import { documents, idle, service, web } from "../lab/fixtures.ts";
import { expectDocument, violations } from "../support/documents.ts";
import { XdsClient } from "../support/xds-client.ts";
import { document, warren } from "./support/patient-verbs.ts";
import { secretsIn, secretsOf } from "./support/secrets-in-use.ts";
import { documentsIn, firstLooks, leavesOf, schemaOf } from "./support/verb-documents.ts";

const namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: production, labels: {warren.dev/mode: ambient}}}";
const outside = idle("outsider", "node-2").replace("name: outsider", "name: outsider, namespace: outside");
const manifests = [documents(namespace, web({ replicas: 2 }), service("web"), idle("one", "node-2"), outside)];
const eventually = { timeout: 60_000, interval: 200 };

describe("the verbs of a mesh", { timeout: 300_000 }, () => {
  let lab: Lab;
  let stateRoot: string;
  beforeAll(async () => {
    stateRoot = mkdtempSync(join(tmpdir(), "verbs-"));
    lab = await Lab.up({ manifests, stateRoot, controlReplicas: 2 }, AbortSignal.timeout(90_000));
    await lab.waitReady({ timeoutMs: 90_000 });
    process.env["WARREN_LAB_STATE"] = stateRoot;
    // Agents come to control by themselves, a moment after they are ready.
    await vi.waitFor(async () => expect((await warren("status")).code).toBe(0), eventually);
  }, 300_000);
  afterAll(async () => {
    delete process.env["WARREN_LAB_STATE"];
    await lab?.down();
    rmSync(stateRoot, { recursive: true, force: true });
  });

  const enrolled = () => lab.pods().filter((pod) => pod.namespace === "production");
  const identity = "spiffe://cluster.local/ns/production/sa/default";

  it("status tells of every node and of control", async () => {
    const status = await document<{ nodes: NodeStatus[]; control: { agents: { node: string }[] }[] }>("status");
    expectDocument(status, "warren.status/v1");
    expect(status.nodes.map(({ node, ready, pods }) => ({ node, ready, captured: pods["captured"] }))).toEqual(
      lab
        .nodes()
        .map((node) => ({ node, ready: true, captured: enrolled().filter((pod) => pod.node === node).length })),
    );
    expect(status.control.flatMap(({ agents }) => agents.map(({ node }) => node)).sort()).toEqual(lab.nodes());
  });

  it("workloads tells of every pod, and how far enrolment is", async () => {
    const { workloads, ...rest } = await document<{ workloads: WorkloadRow[] }>("workloads");
    expectDocument({ ...rest, workloads }, "warren.workloads/v1");
    const found = workloads
      .map((row) => `${row.namespace}/${row.name} ${row.node} ${row.protocol} ${row.state}`)
      .sort();
    const expected = lab
      .pods()
      .map(({ namespace: home, name, node }) =>
        home === "production" ? `${home}/${name} ${node} HBONE captured` : `${home}/${name} ${node} TCP not enrolled`,
      );
    expect(found).toEqual(expected.sort());
    for (const row of workloads)
      expect([...row.addresses].sort()).toEqual([...lab.pod(`${row.namespace}/pod/${row.name}`).ips].sort());
    const named = await warren("workloads", "deploy/web", "-o", "name", "--node", "node-1");
    expect(named.stdout).toMatch(/^pod\/web-[-a-z0-9]+\.production\n$/);
  });

  it("services tells of addresses, ports and endpoints", async () => {
    const found = await document<{ services: ServiceRow[] }>("services", "-n", "production");
    expectDocument(found, "warren.services/v1");
    const { spec } = lab.service("web");
    expect(found.services).toHaveLength(1);
    expect(found.services[0]).toMatchObject({
      name: "web",
      namespace: "production",
      ports: [{ port: 80 }],
      endpoints: 2,
      ready: 2,
      enrolled: 2,
    });
    expect([...(found.services[0]?.addresses ?? [])].sort()).toEqual([...(spec.clusterIPs ?? [])].sort());
  });

  it("certs tells of one certificate for each identity and node, and hands out no key", async () => {
    // Certificates come a moment after the agents are ready.
    const found = await vi.waitFor(async () => {
      const listed = await document<{ certificates: CertificateLine[] }>("certs", "deploy/web");
      const told = listed.certificates.map((one) => [one.identity, one.node, one.state, one.valid]);
      expect(told).toEqual(lab.nodes().map((node) => [identity, node, "ready", true]));
      return listed;
    }, eventually);
    expectDocument(found, "warren.certs/v1");
    for (const { notBefore, notAfter, renewsAt } of found.certificates) {
      expect(Date.parse(notBefore)).toBeLessThan(Date.parse(renewsAt));
      expect(Date.parse(renewsAt)).toBeLessThan(Date.parse(notAfter));
    }
    expect(JSON.stringify(found)).not.toContain("PRIVATE KEY");
  });

  it("connections tells of one that is open, from both its ends", async () => {
    const sent = 12_345;
    const program = `const socket = require("node:net").connect(80, "web"); socket.write("GET /".padEnd(${sent}, "x")); setInterval(() => {}, 1e6);`;
    const client = lab.spawn("one", ["node", "-e", program], { stdio: "ignore" });
    onTestFinished(() => void client.kill("SIGKILL"));
    const list = async () => (await document<{ connections: ConnectionRow[] }>("connections", "pod/one")).connections;
    await expect
      .poll(
        async () => (await list()).map(({ direction, bytesSent }) => `${direction} ${bytesSent}`).sort(),
        eventually,
      )
      .toEqual([`inbound ${sent}`, `outbound ${sent}`]);
    const whole = await document<{ connections: ConnectionRow[] }>("connections", "pod/one");
    expectDocument(whole, "warren.connections/v1");
    for (const { source, destination, security, protocol } of whole.connections) {
      expect({ security, protocol }).toEqual({ security: "mutual_tls", protocol: "HBONE" });
      expect([source.identity, destination.identity]).toEqual([identity, identity]);
      expect([source.pod, destination.owner]).toEqual(["one", "Deployment/web"]);
    }
    const outbound = await warren("connections", "--direction", "outbound", "--node", "node-2", "-o", "name");
    expect(outbound.stdout).toMatch(/^connection\/node-2\/\d+\n$/);
    const table = await warren("connections", "pod/one");
    expect(table.stdout).toMatch(/^WORKLOAD +DIRECTION +LOCAL/);
    expect(table.stdout).not.toContain("\u001b");
  });

  it("policies tells of what is in force and whom it selects; one that cannot be evaluated is a finding", async () => {
    const policy = (name: string, rules: string) => `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}, namespace: production}
spec: {action: DENY, selector: {matchLabels: {app: web}}, rules: ${rules}}`;
    const mode = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: production}
spec: {mtls: {mode: STRICT}}`;
    await lab.apply(documents(policy("nobody", '[{from: [{source: {namespaces: ["elsewhere"]}}]}]'), mode));
    const list = () => document<{ policies: PolicyRow[] }>("policies");
    await expect.poll(async () => (await list().catch(() => undefined))?.policies.length, eventually).toBe(2);
    const found = await list();
    expectDocument(found, "warren.policies/v1");
    expect(found.code).toBe(0);
    expect(found.policies).toMatchObject([
      {
        kind: "AuthorizationPolicy",
        name: "nobody",
        action: "DENY",
        scope: "workload",
        selector: "app=web",
        selects: 2,
      },
      { kind: "PeerAuthentication", name: "default", action: "STRICT", scope: "namespace", selects: 3 },
    ]);
    // One pod's view of the same, and of what it is.
    const { pods } = await document<{ pods: Description[] }>("describe", "deploy/web");
    expect(pods.map(({ name, node }) => `${name} ${node}`)).toEqual(
      lab
        .pods()
        .filter(({ name }) => name.startsWith("web-"))
        .map(({ name, node }) => `${name} ${node}`)
        .sort(),
    );
    for (const pod of pods)
      expect(pod).toMatchObject({
        enrolled: true,
        enrolledBecause: "namespace label",
        identity,
        mode: { mode: "STRICT", policy: "production/default" },
        ports: [{ port: 8080, services: ["production/web:80"] }],
        policies: [{ policy: "production/nobody", action: "DENY", problems: [] }],
        findings: [],
      });
    expect(await document<{ findings: object[] }>("lint")).toMatchObject({ code: 0, findings: [] });
    await lab.apply(policy("nobody", '[{from: [{source: {ipBlocks: ["10.0.0.0/99"]}}]}]'));
    await expect.poll(async () => (await list()).code, eventually).toBe(1);
    expect(await document<{ findings: object[] }>("lint")).toMatchObject({
      code: 1,
      findings: [{ code: "WP100", object: "AuthorizationPolicy production/nobody" }],
    });
    await lab.delete("AuthorizationPolicy", "production", "nobody");
    await lab.delete("PeerAuthentication", "production", "default");
  });

  it("log changes what one agent writes, and only that one", async () => {
    const changed = await document<{ levels: object[] }>("log", "--level", "debug", "tunnel:trace", "--node", "node-1");
    expectDocument(changed, "warren.log/v1");
    expect(changed.levels).toEqual([{ node: "node-1", level: "debug", areas: { tunnel: "trace" } }]);
    const levels = await Promise.all(
      lab.nodes().map(async (node) => (await lab.adminGet(node, "/log-level")).body.trim()),
    );
    expect(levels).toEqual(["debug", "info"]);
    expect(await warren("log", "--level", "loud")).toMatchObject({ code: 2 });
    expect((await document<{ levels: object[] }>("log", "--reset")).levels).toEqual(
      lab.nodes().map((node) => ({ node, level: "info", areas: {} })),
    );
  });

  it("version tells of this program, control and every agent", async () => {
    const found = await document<{
      components: { component: string; where: string; openssl: string; fips: boolean }[];
    }>("version");
    expectDocument(found, "warren.version/v1");
    const agents = found.components.filter(({ component }) => component === "agent");
    expect(agents.map(({ where }) => where)).toEqual(lab.nodes());
    for (const agent of agents) expect(agent).toMatchObject({ openssl: process.versions.openssl, fips: false });
    expect(found.components.map(({ component }) => component)).toContain("control");
  });

  it("check finds nothing in a healthy mesh", async () => {
    const check = () => document<{ checks: Check[]; ok: boolean }>("check");
    // An agent that is slow to answer for once is a finding, too.
    const failures = async () => (await check()).checks.filter(({ result }) => result === "failure");
    await expect.poll(failures, eventually).toEqual([]);
    const found = await check();
    expectDocument(found, "warren.check/v1");
    expect(found.checks.map(({ code }) => code)).toContain("capture-audit");
    expect({ ok: found.ok, code: found.code }).toEqual({ ok: true, code: 0 });
  });

  it("a NetworkPolicy that closes 15008 is named by check, and its repair ends it", async () => {
    const policy = (port: number) => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web-only, namespace: production}
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 8080}, {port: ${port}}]}]}`;
    const blocked = async () => {
      const { checks } = await document<{ checks: Check[] }>("check");
      return checks.find(({ code }) => code === "network-policies")?.detail ?? "";
    };
    await lab.apply(policy(9090));
    await expect.poll(blocked, eventually).toMatch(/production\/web-.*web-only.*15008/);
    await lab.apply(policy(15_008));
    await expect.poll(blocked, eventually).toBe("");
    await lab.delete("NetworkPolicy", "production", "web-only");
  });

  it("a discovery client that rejects what it is told is named by check, with its words", async () => {
    const [socket = ""] = operatorSockets(lab.folder);
    const token = readFileSync(join(lab.folder, "tokens", "node-1"), "utf8");
    const client = new XdsClient({ address: `unix:${socket}`, rootFile: rootCertificateFile(lab.folder), token });
    client.send("istio.workload.Address", { node: { id: "ztunnel~10.0.0.1~foreign~node-1" } });
    client.acknowledge(await client.response(1), "these words mean nothing to me");
    const found = async () => {
      const { checks } = await document<{ checks: Check[] }>("check");
      return checks.find(({ code }) => code === "clients-accept");
    };
    await expect.poll(found, eventually).toMatchObject({
      result: "warning",
      detail: expect.stringMatching(
        /^node-1\/ztunnel~.*rejected 1 .*address.*these words mean nothing to me/,
      ) as string,
    });
    client.end();
    await expect.poll(found, eventually).toMatchObject({ result: "ok" });
  });

  it("every verb that prints for programs says which published schema it prints, and keeps to it, in every format", async () => {
    const program = new Command("warren");
    await registerAll(program);
    const printing = leavesOf(program).filter(({ options }) => options.some(({ long }) => long === "--output"));
    for (const { name, options } of printing) {
      const { argChoices = [] } = options.find(({ long }) => long === "--output") ?? {};
      expect(argChoices, name).toEqual(expect.arrayContaining([...listFormats]));
    }
    const root = rootCertificateFile(lab.folder);
    const nobody = "spiffe://cluster.local/ns/nowhere/sa/nobody";
    /** How each is called; what changes something, or goes on, in one format alone. */
    const calls: Readonly<Record<string, { args?: readonly string[]; once?: true; ends?: 1 }>> = {
      "authn tls-check": {},
      "authz explain": { args: ["--from", "production/default", "--to", "deploy/web:8080"] },
      "ca restore": { args: [nobody] },
      "ca revoke": { args: ["--identity", nobody] },
      "ca rotate": { args: ["--intermediate"], once: true },
      "ca status": {},
      "ca verify": { args: [root, "--roots", root], ends: 1 },
      "lab status": {},
      "proxy-config listeners": { args: ["deploy/web"] },
      "proxy-config secret": { args: ["deploy/web"] },
      certs: {},
      check: {},
      connections: {},
      describe: { args: ["deploy/web"] },
      edges: {},
      enroll: { args: ["ns/production"], once: true },
      lint: {},
      log: {},
      plaintext: { args: ["--rehearse-strict", "mesh"] },
      policies: {},
      services: {},
      status: {},
      tap: { args: ["--max-events", "1", "--for", "30s"], once: true },
      "tls-check": {},
      top: { args: ["--count", "1", "--interval", "100ms"], once: true },
      unenroll: { args: ["ns/outside"], once: true },
      uninstall: { once: true },
      version: {},
      why: { args: ["pod/one", "deploy/web:8080"] },
      workloads: {},
    };
    expect(printing.map(({ name }) => name).sort()).toEqual(Object.keys(calls).sort());
    const traffic = lab.spawn("one", ["sh", "-c", "while :; do curl -s -m 2 http://web/; sleep 0.1; done"], {
      stdio: "ignore",
    });
    onTestFinished(() => void traffic.kill("SIGKILL"));
    const broken: string[] = [];
    for (const [name, { args = [], once, ends = 0 }] of Object.entries(calls)) {
      const words = [...name.split(" "), ...args];
      const printed = async (format: string) => (await warren(...words, "-o", format)).stdout.trim();
      const { code, stdout, stderr } = await warren(...words, "-o", "json");
      // Nothing is wrong in this mesh, which check says above; a root is no server's certificate.
      if (name !== "check" && code !== ends) broken.push(`${name} ends with ${code}: ${stderr}`);
      const text = stdout.trim();
      const documents = documentsIn(text);
      if (documents.length === 0) broken.push(`${name} printed no document: ${text.slice(0, 200)}`);
      for (const one of documents)
        broken.push(...violations(one, schemaOf(one)).map((problem) => `${name}: ${problem}`));
      if (once === true) continue;
      const [yaml, lines, names] = [await printed("yaml"), await printed("jsonl"), await printed("name")];
      const fromYaml = parseYaml(yaml) as object;
      broken.push(...violations(fromYaml, schemaOf(fromYaml)).map((problem) => `${name} -o yaml: ${problem}`));
      for (const line of lines === "" ? [] : lines.split("\n"))
        if (!/^warren\..*\/v\d+$/.test(schemaOf(JSON.parse(line) as object))) broken.push(`${name} -o jsonl: ${line}`);
      // What is open has changed between two looks.
      const fewer = name !== "connections" && names.split("\n").length < lines.split("\n").length;
      if (fewer || names.includes("{")) broken.push(`${name} -o name: ${names}`);
      expect(await printed("wide"), name).not.toContain("\u001b");
    }
    expect(broken).toEqual([]);
  });

  it("--watch goes on until it is interrupted, one document a line into a pipe, of listings and of answers", async () => {
    const watched: Readonly<Record<string, string>> = {
      services: "warren.services/v1",
      plaintext: "warren.plaintext/v1",
      "check --fail-on failure": "warren.check/v1",
      "why pod/one deploy/web:8080": "warren.why/v1",
      "ca status": "warren.ca-status/v1",
      "proxy-config secret deploy/web": "warren.proxy-config-secret/v1",
    };
    const watch = async (verb: string, schema: string) => {
      // Without a format: a table that can't be redrawn is a log that nobody can read.
      const { lines, code } = await firstLooks(verb);
      expect({ verb, code, broken: lines.flatMap((line) => violations(JSON.parse(line) as object, schema)) }).toEqual({
        verb,
        code: 0,
        broken: [],
      });
    };
    await Promise.all(Object.entries(watched).map(([verb, schema]) => watch(verb, schema)));
  });

  it("--watch outlives a restart of control, and says while there is nobody to ask", async () => {
    const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
    const child = spawn(process.execPath, [main, "services", "--watch", "-o", "jsonl"], { stdio: "pipe" });
    onTestFinished(() => void child.kill("SIGKILL"));
    let [shown, advice] = [0, ""];
    child.stdout.on("data", (text: Buffer) => (shown += text.toString().split("\n").length - 1));
    child.stderr.on("data", (text: Buffer) => (advice += text.toString()));
    const daemons = (lab.mesh?.controls ?? []).map(({ daemon }) => daemon);
    expect(daemons).toHaveLength(2);
    await expect.poll(() => shown, eventually).toBeGreaterThan(0);
    for (const daemon of daemons) await daemon.kill();
    await expect.poll(() => advice, eventually).toContain("cannot be reached");
    for (const daemon of daemons) await daemon.start();
    const before = shown;
    await expect.poll(() => shown, eventually).toBeGreaterThan(before);
    expect(child.exitCode).toBeNull();
    await lab.waitReady();
    await expect.poll(async () => (await warren("certs")).code, eventually).toBe(0);
  });

  it("asks control by flags, and is refused with a token that is not known", async () => {
    const token = join(stateRoot, "wrong-token");
    const [socket = ""] = operatorSockets(lab.folder);
    const flags = ["--control", `unix:${socket}`, "--root", rootCertificateFile(lab.folder), "--token-file"];
    writeFileSync(token, "nobody-knows-it");
    const refused = await warren("services", ...flags, token);
    expect(refused).toMatchObject({ code: 3, stdout: "" });
    expect(refused.stderr).toContain("MESH_UNREACHABLE_REFUSED");
    expect(await warren("services", ...flags, operatorTokenFile(lab.folder))).toMatchObject({ code: 0 });
  });

  it("bundle writes an archive of all of it, in which no key and no token is", async () => {
    const file = join(stateRoot, "bundle.tar.gz");
    expect(await warren("bundle", "--file", file)).toMatchObject({ code: 0, stdout: `${file}\n` });
    const archive = gunzipSync(readFileSync(file)).toString("latin1");
    const files = ["bundle.json", "mesh/workloads.json", "nodes/node-2/agent-config.json", "logs/agent-node-1.log"];
    for (const name of files) expect(archive).toContain(name);
    expect(archive).toContain(lab.pod("one").uid.length > 0 ? '"name": "one"' : "");
    const known = secretsOf(lab.folder);
    expect(known.length).toBeGreaterThanOrEqual(5);
    expect(secretsIn(archive, known)).toEqual([]);
    expect(archive).not.toMatch(/-----BEGIN|Bearer [A-Za-z0-9]/);
  });

  it("enroll captures a namespace and says so; unenroll lets it go; what is not there is refused", async () => {
    const enroll = await document<{ ok: boolean; pods: { name: string; state: string }[] }>("enroll", "ns/outside");
    expectDocument(enroll, "warren.enroll/v1");
    expect(enroll).toMatchObject({ code: 0, ok: true, pods: [{ name: "outsider", state: "captured" }] });
    const dump = (await lab.adminJson("node-2", "/config_dump")) as { pods: { name: string; state: string }[] };
    expect(dump.pods).toContainEqual(expect.objectContaining({ name: "outsider", state: "captured" }));
    const leave = await document<{ pods: { enrolled: boolean }[] }>("unenroll", "ns/outside");
    expect(leave).toMatchObject({ code: 0, pods: [{ enrolled: false }] });
    const pod = await document<{ pods: { name: string; enrolled: boolean }[] }>("unenroll", "pod/one");
    expect(pod).toMatchObject({ code: 0, pods: [{ name: "one", enrolled: false }] });
    expect((await document<{ pods: object[] }>("enroll", "pod/one.production")).code).toBe(0);
    expect(await warren("enroll", "ns/nowhere")).toMatchObject({ code: 1, stdout: "" });
    expect(await warren("enroll", "job/web")).toMatchObject({ code: 2 });
  });

  it("enroll and unenroll of a Deployment change its template, which has to be allowed since it replaces pods", async () => {
    type Enrolment = { target: string; pods: { name: string; enrolled: boolean; state: string }[] };
    const names = ({ pods }: Enrolment) => pods.map(({ name }) => name).sort();
    const before = await document<Enrolment>("enroll", "deploy/web");
    expect(before).toMatchObject({ code: 0, target: "deploy/web.production" });
    expect(before.pods.map(({ state }) => state)).toEqual(["captured", "captured"]);
    const refused = await warren("unenroll", "deploy/web");
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toMatch(/--restart.*MESH_ENROLMENT_RESTARTS/);
    const left = await document<Enrolment>("unenroll", "deploy/web", "--restart");
    expectDocument(left, "warren.unenroll/v1");
    expect(left.pods.map(({ enrolled: still }) => still)).toEqual([false, false]);
    expect(names(left)).not.toEqual(names(before));
    const back = await document<Enrolment>("enroll", "deploy/web", "--restart");
    expectDocument(back, "warren.enroll/v1");
    expect(back.pods.map(({ state }) => state)).toEqual(["captured", "captured"]);
    expect((await warren("enroll", "deploy/nobody")).code).toBe(1);
  });

  it("enroll --cut closes what was open before, and leaves what it can't", async () => {
    // A server that is being replaced closes connections, too.
    await expect.poll(() => lab.pods().filter(({ going }) => going), eventually).toEqual([]);
    // The test of the socket itself is capture's; a kernel may close no sockets of others.
    const program = `const net = require("node:net"); const go = () => { const socket = net.connect(80, "web.production");
      socket.on("error", () => {}).on("connect", () => console.log("open")).on("close", () => console.log("closed")); }; go(); setInterval(() => {}, 1e6);`;
    const client = lab.spawn("outside/outsider", ["node", "-e", program], { stdio: ["ignore", "pipe", "ignore"] });
    onTestFinished(() => void client.kill("SIGKILL"));
    const said: string[] = [];
    client.stdout?.on("data", (text: Buffer) => said.push(...text.toString().trim().split("\n")));
    await expect.poll(() => said, eventually).toEqual(["open"]);
    const enroll = await document<{ cut: number; steps: { step: string; ok: boolean; detail: string }[] }>(
      "enroll",
      "ns/outside",
      "--cut",
    );
    expectDocument(enroll, "warren.enroll/v1");
    const told = enroll.steps.find(({ step }) => step.startsWith("outside/outsider: "));
    expect(told).toBeDefined();
    if (told?.ok === true) {
      expect(enroll.cut).toBe(1);
      await expect.poll(() => said, eventually).toEqual(["open", "closed"]);
    } else {
      expect(told?.detail).not.toBe("");
      expect(said).toEqual(["open"]);
    }
    expect((await warren("unenroll", "ns/outside")).code).toBe(0);
  });

  it("a replica of control that is killed costs nobody an answer for longer than agents need to find the other", async () => {
    const replica = lab.mesh?.daemon("control");
    await replica?.kill();
    await expect.poll(async () => (await warren("certs")).code, eventually).toBe(0);
    const status = await document<{ nodes: NodeStatus[]; control: object[] }>("status");
    expect(status.nodes.map(({ node, answered }) => [node, answered])).toEqual(lab.nodes().map((node) => [node, true]));
    expect(status.control).toHaveLength(1);
    await replica?.start();
    await expect.poll(async () => (await document<{ control: object[] }>("status")).control.length, eventually).toBe(2);
    await expect.poll(async () => (await warren("certs")).code, eventually).toBe(0);
  });

  it("an agent that does not answer is told, and makes the answer partial", async () => {
    await lab.stopAgent("node-2");
    await expect.poll(async () => (await warren("certs")).code, eventually).toBe(3);
    const certs = await warren("certs");
    expect(certs.stderr).toMatch(/^1\/2 nodes answered\n {2}node-2: /);
    expect(certs.stdout).toContain("node-1");
    const status = await document<{ nodes: NodeStatus[]; fanOut: object }>("status");
    expectDocument(status, "warren.status/v1");
    expect(status.nodes.map(({ node, answered }) => [node, answered])).toEqual([
      ["node-1", true],
      ["node-2", false],
    ]);
    expect(status.fanOut).toMatchObject({ asked: ["node-1", "node-2"], answered: ["node-1"] });
    const { checks, code } = await document<{ checks: Check[] }>("check");
    expect(checks.filter(({ result }) => result === "failure").map((check) => check.code)).toEqual(["agents-answer"]);
    expect(code).toBe(3);
    expect(await warren("uninstall", "--yes")).toMatchObject({ code: 3 });
    // The agent that is away is the one that would have to act.
    const late = await document<{ ok: boolean; missing: string[] }>("enroll", "ns/outside", "--wait", "1s");
    expect(late).toMatchObject({ code: 4, ok: false });
    expect(late.missing.join()).toMatch(/outside\/outsider|node-2/);
    await lab.startAgent("node-2");
    await expect.poll(async () => (await warren("certs")).code, eventually).toBe(0);
    expect(await warren("unenroll", "ns/outside")).toMatchObject({ code: 0 });
  });

  it("uninstall refuses while pods are captured, and otherwise takes labels, pods and agents away in this order", async () => {
    await lab.waitReady();
    await expect.poll(async () => (await warren("status")).code, eventually).toBe(0);
    // The agent that was away takes its pods back, and lets go of the outsider, after it has answered.
    const captured = async () => {
      const { workloads } = await document<{ workloads: WorkloadRow[] }>("workloads");
      const rows = workloads.filter(({ state }) => state === "captured");
      return rows.map((row) => `${row.namespace}/${row.name}`).sort();
    };
    const members = enrolled().map(({ namespace: home, name }) => `${home}/${name}`);
    await expect.poll(captured, eventually).toEqual(members.sort());
    const refused = await document<{ removed: boolean; captured: string[] }>("uninstall", "--yes", "--no-unlabel");
    expectDocument(refused, "warren.uninstall/v1");
    expect(refused).toMatchObject({ code: 1, removed: false });
    expect(refused.captured).toEqual(members);
    expect(lab.mesh?.agent("node-1").running).toBe(true);
    const planned = await document<{ removed: boolean }>("uninstall");
    expect(planned).toMatchObject({ code: 0, removed: false });
    // The test before has enrolled the Deployment by its template, whose change replaces pods.
    const template = await document<{ removed: boolean; steps: { step: string }[] }>("uninstall", "--yes");
    expect(template).toMatchObject({ code: 1, removed: false });
    expect(template.steps[0]?.step).toBe("the pod template of deploy/web.production carries the label");
    expect(lab.labelled("warren.dev/mode")).not.toEqual([]);
    const done = await document<{ removed: boolean; steps: { step: string }[] }>("uninstall", "--yes", "--restart");
    expect(done).toMatchObject({ code: 0, removed: true });
    const steps = done.steps.map(({ step }) => step);
    expect(steps.indexOf("no pod is captured any more")).toBeGreaterThan(
      steps.indexOf("took the label from ns/production"),
    );
    expect(steps).toContain("took the label from the pod template of deploy/web.production");
    expect(lab.labelled("warren.dev/mode")).toEqual([]);
    const deployment = readFileSync(join(lab.folder, "cluster", "deployment_production_web.yaml"), "utf8");
    expect(deployment).not.toContain("warren.dev/mode");
    expect(lab.nodes().map((node) => lab.mesh?.agent(node).running)).toEqual([false, false]);
  });
});
