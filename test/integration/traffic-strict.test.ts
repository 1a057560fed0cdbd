/** From PERMISSIVE to STRICT by the plaintext report: it names every kind of plaintext client, and its fixes are enough. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { connectMesh } from "../../src/cli/query/mesh-client.ts";
import { cutUncarried } from "../../src/cli/traffic/cut-connections.ts";
import type { PlaintextRow } from "../../src/cli/traffic/plaintext-report.ts";
import type { PlaintextSummary } from "../../src/cli/traffic/plaintext-words.ts";
import type { TlsCheckRow } from "../../src/cli/traffic/tls-check-rows.ts";
import { eventually } from "../../src/lab/demo/stage.ts";
import { readExample } from "../../src/lab/examples.ts";
import { Lab } from "../../src/lab/lab.ts";
import { run } from "../../src/lab/machine/launch.ts";
import { expectDocument } from "../support/documents.ts";
import { client, documents, echoPort, HeldConnection, httpPort, listens, namespaces, server } from "./support/cast.ts";
import { WarrenShell } from "./support/warren-shell.ts";

const legacy = `
apiVersion: v1
kind: Pod
metadata: {name: legacy, labels: {app: legacy-service}}
spec:
  nodeName: node-2
  serviceAccountName: legacy
  terminationGracePeriodSeconds: 1
  containers:
  - name: server
    command: [node, -e, 'require("node:http").createServer((_, response) => response.end("old")).listen(${httpPort}, "::")']
    readinessProbe: {${listens(httpPort)}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: legacy}
spec: {selector: {app: legacy-service}, ports: [{port: ${httpPort}, targetPort: ${httpPort}}]}`;

/** From another node it comes from its node's address; from the server's own node from the bridge's, which nobody's status names. */
const onTheHost = (name: string, node: string) => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: outside, labels: {app: ${name}}}
spec:
  nodeName: ${node}
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers: [{name: idle, command: [sleep, infinity]}]`;

const optedOut = client("batch", "node-1").replace(
  "labels: {app: batch}",
  'labels: {app: batch, warren.dev/mode: "none"}',
);

/** What the report says to do for clients that can't be enrolled. */
const exception = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: server-http}
spec: {selector: {matchLabels: {app: server}}, portLevelMtls: {${httpPort}: {mode: PERMISSIVE}}}`;

interface Report {
  readonly conversations: readonly PlaintextRow[];
  readonly summary: PlaintextSummary;
}

describe("the way to STRICT", { timeout: 300_000 }, () => {
  const shell = new WarrenShell();
  let lab: Lab;
  let visitor: string;
  beforeAll(async () => {
    const manifests = [
      documents(
        namespaces,
        server("node-2", listens(echoPort)),
        legacy,
        client("web", "node-1"),
        client("stranger", "node-1", "outside"),
        optedOut,
        onTheHost("exporter", "node-1"),
        onTheHost("scraper", "node-2"),
      ),
    ];
    lab = await Lab.up({ nodes: 2, manifests, stateRoot: shell.stateRoot }, AbortSignal.timeout(100_000));
    await lab.apply(readExample("policies/permissive.yaml"));
    await lab.apply(readExample("policies/legacy-exception.yaml"));
    await lab.waitReady();
  }, 300_000);
  afterAll(async () => {
    await lab?.down();
    shell.close();
  });

  const get = (url: string) => ["curl", "-s", "-o", "/dev/null", "--max-time", "15", url];
  const served = async (pod: string, host: string) =>
    (await lab.exec(pod, get(`http://${host}:${httpPort}/`))).code === 0;
  /** From a machine of the fabric that is neither a node nor a pod. */
  async function visitorServed(address: string): Promise<boolean> {
    const [control] = lab.mesh?.controls ?? [];
    if (control === undefined) throw new Error("the lab has no control plane");
    const place = control.sandbox.place(control.cgroup.child("visitor"));
    const env = { PATH: process.env["PATH"] ?? "" };
    const { code } = await run(place, get(`http://${address}:${httpPort}/`), { env });
    return code === 0;
  }
  async function report(flags = ""): Promise<Report> {
    const document = (await shell.json(`warren plaintext ${flags} -o json`)) as Report;
    expectDocument(document, "warren.plaintext/v1");
    return document;
  }
  const told = ({ conversations }: Report) =>
    conversations.map(({ client: from, destination, why, strict }) => ({
      client: from.pod === "" ? from.kind : from.pod,
      to: `${destination.pod}:${destination.port}`,
      why,
      strict,
    }));

  /** Every client once; the names of those that were not served. */
  async function everybody(): Promise<string[]> {
    const [address = ""] = lab.pod("server").ips;
    const asked: [string, () => Promise<boolean>][] = [
      ["web", () => served("web", "server")],
      ["web to legacy", () => served("web", "legacy")],
      ["stranger", () => served("outside/stranger", "server.production")],
      ["batch", () => served("batch", "server")],
      ["exporter", () => served("outside/exporter", address)],
      ["scraper", () => served("outside/scraper", address)],
      ["visitor", () => visitorServed(address)],
    ];
    const failed: string[] = [];
    for (const [name, ask] of asked) if (!(await ask())) failed.push(name);
    return failed;
  }

  test("names five kinds of plaintext client, what STRICT would do to each, and nobody else", async () => {
    // Certificates come a moment after capture.
    await eventually("mutual TLS", 120_000, async () => {
      await served("web", "server");
      const { ports } = (await shell.json("warren tls-check pod/server -o json")) as { ports: TlsCheckRow[] };
      return ports.some(({ clients }) => clients.mutualTls > 0) ? true : undefined;
    });
    expect(await everybody()).toEqual([]);
    const { value: found } = await eventually("the report", 120_000, async () => {
      const seen = await report("--rehearse-strict ns/production");
      return seen.conversations.length >= 6 ? seen : undefined;
    });
    visitor = found.conversations.find(({ why }) => why === "client-outside")?.client.address ?? "";
    const order = ({ why, client: name }: ReturnType<typeof told>[number]) => `${why} ${name}`;
    expect(told(found).sort((one, other) => (order(one) < order(other) ? -1 : 1))).toEqual([
      { client: "exporter", to: `server:${httpPort}`, why: "client-host-network", strict: "refuses" },
      { client: "scraper", to: `server:${httpPort}`, why: "client-host-network", strict: "refuses" },
      { client: "stranger", to: `server:${httpPort}`, why: "client-not-enrolled", strict: "refuses" },
      { client: "batch", to: `server:${httpPort}`, why: "client-opted-out", strict: "refuses" },
      { client: "outside", to: `server:${httpPort}`, why: "client-outside", strict: "refuses" },
      { client: "web", to: `legacy:${httpPort}`, why: "mode-disable", strict: "no-effect" },
    ]);
    expect(visitor).not.toBe("");
    expect(found.summary).toMatchObject({ rehearsal: "ns/production", refusedByStrict: 5, missing: [] });
    expect(found.summary.nodes.map(({ node }) => node)).toEqual(["node-1", "node-2"]);
    expect(found.summary.blindSpots.join()).toMatch(/agents have watched for .* only/);
    // For a pipeline: 1 while there is something that STRICT would refuse.
    expect(await shell.run("warren plaintext --rehearse-strict ns/production --fail-on refusals")).toMatchObject({
      code: 1,
    });
    const csv = await shell.run("warren plaintext --rehearse-strict ns/production --export csv");
    expect(csv.stdout.trim().split("\r\n")).toHaveLength(7);
  });

  test("lists what was open before enrolment, and cuts it on request", async () => {
    const held = await HeldConnection.open(lab, "outside/stranger", "server.production");
    await lab.labelNamespace("outside", { "warren.dev/mode": "ambient" });
    const { value: open } = await eventually("the connection from before", 120_000, async () =>
      (await report()).conversations.find(({ why }) => why === "open-before-enrolment"),
    );
    expect(open).toMatchObject({ client: { pod: "stranger" }, destination: { port: echoPort } });
    expect(held.isOpen).toBe(true);
    await held.echo();

    process.env["WARREN_LAB_STATE"] = shell.stateRoot;
    const signal = AbortSignal.timeout(90_000);
    const mesh = await connectMesh({ name: lab.id }, signal);
    try {
      expect(await cutUncarried(mesh, new Set(["outside/stranger"]), {}, signal)).toEqual({
        pods: [{ pod: "outside/stranger", closed: 1, error: "" }],
        closed: 1,
      });
    } finally {
      await mesh.close();
      delete process.env["WARREN_LAB_STATE"];
    }
    await held.ended();
    const again = await HeldConnection.open(lab, "outside/stranger", "server.production");
    await again.close();
    expect((await report()).conversations.filter(({ why }) => why === "open-before-enrolment")).toEqual([]);
  });

  test("breaks nothing when its fixes were followed", async () => {
    // The stranger's namespace is enrolled by now; who can't be enrolled gets the exception.
    await lab.label("Pod", "production", "batch", { "warren.dev/mode": null });
    await lab.apply(exception);
    await lab.waitReady();
    await eventually("mutual TLS of those who were enrolled", 120_000, async () => {
      await everybody();
      const { conversations } = await report("--rehearse-strict ns/production");
      return conversations.every(({ strict }) => strict !== "refuses") ? true : undefined;
    });
    const after = await report("--rehearse-strict ns/production");
    expect(after.summary.refusedByStrict).toBe(0);
    expect(await shell.run("warren plaintext --rehearse-strict ns/production --fail-on refusals")).toMatchObject({
      code: 0,
    });

    await lab.apply(readExample("policies/strict.yaml"));
    // It is in force where nobody made an exception: the visitor gets no further than being reset.
    const check = async () => (await shell.json("warren tls-check pod/server -o json")) as { ports: TlsCheckRow[] };
    const { value: ports } = await eventually("STRICT", 120_000, async () => {
      const { ports: rows } = await check();
      return rows.some(({ status }) => status === "OK") ? rows : undefined;
    });
    expectDocument(await check(), "warren.tls-check/v1");
    expect(ports.map(({ port, mode, policy }) => ({ port, mode, policy }))).toEqual([
      { port: httpPort, mode: "PERMISSIVE", policy: "production/server-http" },
      { port: echoPort, mode: "STRICT", policy: "production/default" },
    ]);
    expect(await everybody()).toEqual([]);
    await eventually("a refusal on the other port", 120_000, async () => {
      const [address = ""] = lab.pod("server").ips;
      const { code } = await lab.exec("outside/exporter", [
        "curl",
        "-s",
        "--max-time",
        "2",
        `telnet://${address}:${echoPort}`,
      ]);
      return code === 56 || code === 7 ? true : undefined;
    });
    // The client hears of it before the agent has told.
    await eventually("the refusal in the verb", 120_000, async () => {
      const refused = (await check()).ports.find(({ port }) => port === echoPort);
      expect(refused).toMatchObject({ status: "OK", lastPlaintext: { refused: true } });
      expect(refused?.lastPlaintext?.from).toContain("exporter");
      return true;
    });
  });
});
