/**
 * A rolling update of the agents under load: two overlap on a node, no new connection fails, and what the drain cut is named. Before it,
 * what both ends of a connection send to a collector.
 */
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { asPage, samplesOf } from "../telemetry/otlp/as-page.ts";
import { client, documents, HeldConnection, httpPort, namespaces, server } from "./support/cast.ts";
import { collectorEndpoint, LabCollector } from "./support/lab-collector.ts";
import { SteadyLoad } from "./support/steady-load.ts";

const tries = { timeout: 60_000, interval: 50 };

interface Row {
  readonly name: string;
  readonly state: string;
}

describe.each(["native", "typescript"] as const)("agents of the %s engine that are replaced", (engine) => {
  let lab: Lab;
  beforeAll(async () => {
    const manifests = [documents(namespaces, server("node-1"), client("near", "node-1"), client("far", "node-2"))];
    const otlp = { endpoint: collectorEndpoint, interval: "200ms", metricsInterval: "1s" };
    const agentSettings = { log: { format: "json" }, drain: { deadline: "1s" }, otlp };
    lab = await Lab.up({ manifests, engine, agentSettings }, AbortSignal.timeout(90_000));
    await lab.waitReady();
  });
  afterAll(() => lab?.down());

  const captured = async (node: string) =>
    ((await lab.adminJson(node, "/config_dump")) as { pods: Row[] }).pods
      .filter(({ state }) => state === "captured")
      .map(({ name }) => name)
      .sort();
  const lines = async (node: string, scope: string) =>
    (await lab.agentLog(node))
      .split("\n")
      .filter((line) => line.startsWith("{") && line.endsWith("}"))
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter((line) => line["scope"] === scope);

  it("tell a collector of a connection from both ends, in one trace, beside the log and the metrics that scrapers read", async () => {
    const collector = await LabCollector.start(lab);
    onTestFinished(() => collector.stop());
    // To one family: curl opens a second connection when a stall comes between (RFC 8305).
    const traced = ["curl", "-4", "-sS", "--max-time", "15", `http://server:${httpPort}/traced`];
    expect((await lab.exec("far", traced)).code).toBe(0);
    const spansOf = async (node: string) =>
      (await collector.look()).spans.filter(
        ({ resource, attributes }) =>
          resource["k8s.node.name"] === node &&
          attributes["destination.port"] === httpPort &&
          attributes["warren.source.workload"] === "far",
      );
    await expect.poll(() => spansOf("node-2"), tries).toHaveLength(1);
    await expect.poll(() => spansOf("node-1"), tries).toHaveLength(1);
    const [source] = await spansOf("node-2");
    const [destination] = await spansOf("node-1");
    expect(source).toMatchObject({ kind: 3, parentSpanId: "", status: { code: 0 }, events: ["connected"] });
    expect(destination).toMatchObject({ kind: 2, traceId: source?.traceId, parentSpanId: source?.spanId });
    expect(destination?.spanId).not.toBe(source?.spanId);
    for (const span of [source, destination]) {
      expect(span?.attributes).toMatchObject({
        "network.transport": "tcp",
        "server.port": httpPort,
        "warren.reason": "ok",
        "warren.security": "mutual_tls",
        "warren.bytes.sent": source?.attributes["warren.bytes.sent"],
        "warren.bytes.received": source?.attributes["warren.bytes.received"],
        "warren.source.identity": "spiffe://cluster.local/ns/production/sa/far",
        "warren.destination.identity": "spiffe://cluster.local/ns/production/sa/server",
        "warren.destination.workload": "server",
      });
    }
    const told = async () => {
      const { logs } = await collector.look();
      return logs
        .filter(({ attributes }) => attributes["trace"] === source?.traceId)
        .map(({ resource }) => resource["k8s.node.name"]);
    };
    await expect.poll(async () => new Set(await told()), tries).toEqual(new Set(["node-1", "node-2"]));
    const istio = (lines: string[]) => lines.filter((line) => line.startsWith("istio_tcp_"));
    for (const node of ["node-1", "node-2"]) {
      const differences = async () => {
        const { body } = await lab.node(node).prober.get("127.0.0.1", 15_020, "/metrics", 30_000);
        const { metrics } = await collector.look();
        const latest = new Map(
          metrics.filter(({ resource }) => resource["k8s.node.name"] === node).map((one) => [one.name, one]),
        );
        const [scraped, sent] = [istio(samplesOf(body)), istio(samplesOf(asPage([...latest.values()])))];
        return { some: scraped.length > 0, missing: scraped.filter((line) => !sent.includes(line)) };
      };
      await expect.poll(differences, tries).toEqual({ some: true, missing: [] });
    }
  }, 300_000);

  it("overlap on each node in turn; connections open at the deadline are cut and named, new ones never fail", async () => {
    const url = `http://server:${httpPort}/`;
    const loads = ["near", "far"].map((pod) => new SteadyLoad(lab, pod, url));
    const held = await HeldConnection.open(lab, "far", "server");
    for (const node of ["node-1", "node-2"]) {
      const former = await lab.surgeAgent(node, AbortSignal.timeout(90_000));
      expect(await captured(node)).toEqual(node === "node-1" ? ["near", "server"] : ["far"]);
      // The former carries what it has while the next one takes what comes.
      if (node === "node-1") await held.echo();
      const late = `late-${node}`;
      await lab.apply(client(late, node));
      await expect.poll(() => captured(node), tries).toContain(late);
      expect((await lab.exec(late, ["curl", "-sS", "--max-time", "15", url])).code).toBe(0);
      await former.stop();
      expect(await captured(node)).toContain(late);
    }
    await held.ended();
    const reports = await Promise.all(loads.map((load) => load.stop()));
    for (const { answered, failed } of reports) {
      expect(failed).toEqual([]);
      expect(answered).toBeGreaterThan(50);
    }
    const cut = (await lines("node-1", "drain")).filter(({ message }) => message === "connection cut");
    expect(cut).toContainEqual(expect.objectContaining({ role: expect.stringMatching(/inbound/) }));
    expect((await lines("node-1", "succession")).map(({ message }) => message)).toEqual([
      expect.stringContaining("a newer agent takes over"),
    ]);
    expect((await lab.exec("far", ["curl", "-sS", "--max-time", "15", url])).code).toBe(0);
  }, 300_000);

  it("take their place again when the next one vanishes", async () => {
    const former = await lab.surgeAgent("node-2", AbortSignal.timeout(90_000));
    await lab.killAgent("node-2");
    const url = `http://server:${httpPort}/`;
    const ask = async () => (await lab.exec("far", ["curl", "-sS", "--max-time", "15", url])).code;
    await expect.poll(ask, tries).toBe(0);
    await expect
      .poll(async () => (await lines("node-2", "succession")).at(-1), tries)
      .toMatchObject({ message: expect.stringContaining("is gone") });
    await former.stop();
  });
});
