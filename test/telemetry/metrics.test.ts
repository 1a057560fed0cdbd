import { spawnSync } from "node:child_process";
import { describe, expect, it, onTestFinished } from "vitest";
import { Metrics, type MetricsSources } from "../../src/telemetry/metrics.ts";
import type { ExpositionFormat } from "../../src/telemetry/open-metrics.ts";
import { countTurns } from "../support/loop-turns.ts";
import { label, localPod, record, webIdentity, workload } from "./fixtures.ts";
import { readOpenMetrics } from "./open-metrics-reader.ts";

const now = 1_700_000_000_000;
const tls = { version: "TLSv1.3", group: "X25519MLKEM768", cipher: "TLS_AES_256_GCM_SHA384" };

const sources: MetricsSources = {
  openFlows: () => [],
  engineKind: "typescript",
  engine: () => ({ flowsOpen: 3, flowsTotal: 12 }),
  driver: () => ({ heldFlows: 1 }),
  log: () => ({ droppedTotal: 4 }),
  otlp: () => ({ spansDroppedTotal: 6 }),
  capture: () => ({ "connect4 redirected": 5 }),
  certificates: () => [{ identity: webIdentity, expiresAt: now + 3_600_000 }],
  pods: () => ({ captured: 2, failed: 1 }),
  blockers: () => [{ name: "draining", forMs: 1500 }],
  mesh: () => ({ epoch: 9, changedAt: now - 5000 }),
};

function metrics(policies = 100, series = 10): Metrics {
  return new Metrics({ now: () => now }, { version: "1.2.3", policies, series, seriesIdleMs: 1e6 });
}

async function textOf(of: Metrics, format: ExpositionFormat = "classic"): Promise<string> {
  let text = "";
  for await (const piece of of.pieces(format)) text += piece;
  return text;
}

async function has(of: Metrics, ...lines: (string | RegExp)[]): Promise<void> {
  const text = await textOf(of);
  for (const line of lines)
    expect(text.split("\n")).toContainEqual(typeof line === "string" ? line : expect.stringMatching(line));
}

describe("the agent's metrics", () => {
  it("read present state from its owners when asked", async () => {
    const it = metrics();
    it.start(sources);
    await has(
      it,
      "# TYPE warren_engine_flows_open gauge",
      "warren_engine_flows_open 3",
      "# TYPE warren_engine_flows_total counter",
      "warren_engine_flows_total 12",
      "warren_driver_held_flows 1",
      "warren_log_dropped_total 4",
      "warren_otlp_spans_dropped_total 6",
      'warren_capture_total{counter="connect4 redirected"} 5',
      `warren_certificate_expiry_seconds{identity="${webIdentity}"} 3600`,
      'warren_pods{state="captured"} 2',
      'warren_not_ready_seconds{waiting_for="draining"} 1.5',
      "warren_mesh_epoch 9",
      "warren_mesh_age_seconds 5",
      /^warren_event_loop_lag_seconds\{quantile="0.99"\} [\d.e-]+$/,
      /^process_resident_memory_bytes \d+$/,
      /^process_open_fds \d+$/,
      /^process_max_fds \d+$/,
      /^warren_build_info\{version="1.2.3",engine="typescript",node="24[\d.]+",openssl=".+"\} 1$/,
    );
    it.stop();
    expect(await textOf(it)).not.toContain("warren_engine_flows_open");
  });

  it("count handshakes by what came of them", async () => {
    const it = metrics();
    it.tunnelUp({ tunnel: 1, direction: "outbound", tls, setupMs: 4 });
    it.tunnelDown({ tunnel: 1, direction: "outbound", tls, setupMs: 4, reason: "tunnel-lost" });
    it.tunnelDown({ tunnel: 2, direction: "inbound", tls, setupMs: 0, reason: "tls-failed" });
    await has(
      it,
      'warren_handshakes_total{direction="outbound",result="ok"} 1',
      'warren_handshakes_total{direction="inbound",result="tls-failed"} 1',
      'warren_tunnels_closed_total{direction="outbound",reason="tunnel-lost"} 1',
      'warren_handshake_duration_seconds_bucket{le="0.005",direction="outbound"} 1',
      'warren_tunnels_established_total{direction="outbound",version="TLSv1.3",group="X25519MLKEM768",cipher="TLS_AES_256_GCM_SHA384"} 1',
    );
  });

  it.each([
    ["a client outside the mesh", "inbound-plaintext", { source: undefined }, "destination", "client-outside-mesh"],
    [
      "a client that is not enrolled",
      "inbound-plaintext",
      { source: workload("x", { tunnel: "none" }) },
      "destination",
      "client-not-enrolled",
    ],
    ["an enrolled client", "inbound-plaintext", {}, "destination", "client-sent-plaintext"],
    ["a destination outside the mesh", "outbound", { destination: undefined }, "source", "destination-outside-mesh"],
    [
      "a destination that is not enrolled",
      "outbound",
      { destination: workload("x", { tunnel: "none" }) },
      "source",
      "destination-not-enrolled",
    ],
    ["a destination with DISABLE", "outbound", {}, "source", "tunnel-disabled"],
  ] as const)("count plaintext of %s by cause", async (_name, role, over, reporter, cause) => {
    const it = metrics();
    const plain = { role, peer: "", tunnel: 0, target: { address: "10.0.0.9", port: 8080 } } as const;
    it.flowClosed(record(plain), label(over), localPod("web"));
    it.flowClosed(record({ ...plain, reason: "strict-plaintext" }), label(over), localPod("web"));
    await has(
      it,
      `warren_plaintext_connections_total{reporter="${reporter}",cause="${cause}",outcome="passed"} 1`,
      `warren_plaintext_connections_total{reporter="${reporter}",cause="${cause}",outcome="refused"} 1`,
    );
  });

  it("count decisions by policy, and no more policies than allowed", async () => {
    const it = metrics(2);
    for (const policy of ["a/1", "a/2", "a/3", "a/1"]) {
      it.flowClosed(record({ reason: "policy-denied" }), label({ policy }), undefined);
    }
    it.flowClosed(record(), label({ shadow: [{ policy: "a/1", action: "AUDIT" }] }), undefined);
    await has(
      it,
      'warren_policy_decisions_total{policy="a/1",reason="policy-denied"} 2',
      'warren_policy_decisions_total{policy="other",reason="policy-denied"} 1',
      'warren_policy_shadow_matches_total{policy="a/1",action="AUDIT"} 1',
      'warren_flows_closed_total{reporter="source",reason="policy-denied"} 4',
    );
  });

  it("count what the agent did about pods and certificates", async () => {
    const it = metrics();
    it.enrolled("ebpf", 0.02);
    it.enrolmentFailed("MESH_WRONG_NETNS");
    it.probed("failed");
    it.certificateRenewed("ok");
    it.captureEvent("no-listener");
    it.drainCut(3);
    it.internalError();
    await has(
      it,
      'warren_enrolments_total{backend="ebpf",result="ok"} 1',
      'warren_enrolments_total{backend="none",result="MESH_WRONG_NETNS"} 1',
      'warren_enrolment_duration_seconds_count{backend="ebpf"} 1',
      'warren_capture_probes_total{result="failed"} 1',
      'warren_certificate_renewals_total{result="ok"} 1',
      'warren_capture_alerts_total{kind="no-listener"} 1',
      "warren_drain_cut_total 3",
      "warren_internal_errors_total 1",
    );
  });

  it("are well-formed in the classic format, as Prometheus' own tool reads it", async () => {
    const text = await textOf(await everything());
    const declared = [...text.matchAll(/^# TYPE (\S+) /gm)].map((match) => match[1]);
    expect(new Set(declared).size).toBe(declared.length);
    const check = (input: string) => spawnSync("promtool", ["check", "metrics"], { input, encoding: "utf8" });
    // Quantiles of the time since the last scrape are gauges: a summary would promise a sum and a count over all time.
    const steady = text.split("\n").filter((line) => !line.startsWith("warren_event_loop_lag_seconds{"));
    const { status, stderr } = check(steady.join("\n"));
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(check(text)).toMatchObject({ status: 3, stderr: expect.not.stringContaining("error while") });
    expect(check(`${text}not a sample\n`).status).toBe(1);
  });

  it("are well-formed OpenMetrics, with the same samples as the classic format", async () => {
    const it = await everything();
    const open = readOpenMetrics(await textOf(it, "openmetrics"));
    const classic = await textOf(it);
    const steady = (line: string) => !/^(#|process_|nodejs_|warren_event_loop)/.test(line) && line !== "";
    const counted = classic.split("\n").filter(steady);
    expect(open.filter(steady).map((line) => line.replace(/(le="\d+)\.0"/, '$1"'))).toEqual(counted);
    expect(counted.length).toBeGreaterThan(30);
  });

  it("come in pieces of a bounded number of samples, and the event loop turns between them", async () => {
    const it = metrics(100, 10_000);
    for (let index = 0; index < 2500; index++) {
      it.flowClosed(record({ flow: index }), label({ source: workload(`w${index}`) }), localPod("web"));
    }
    const loop = countTurns();
    const sizes: number[] = [];
    for await (const piece of it.pieces("openmetrics")) {
      sizes.push(
        String(piece)
          .split("\n")
          .filter((line) => line !== "" && !line.startsWith("#")).length,
      );
    }
    loop.stop();
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeGreaterThan(10_000);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(128);
    expect(loop.turns).toBeGreaterThanOrEqual(sizes.length - 1);
  });

  it("read open flows a few at a time, and the event loop turns between", async () => {
    const it = metrics();
    const turnsAt: number[] = [];
    const loop = countTurns();
    it.start({
      ...sources,
      *openFlows() {
        for (let flow = 1; flow <= 1000; flow++) {
          turnsAt.push(loop.turns);
          yield { ...record({ flow }), context: { label: label(), pod: localPod("web") } };
        }
      },
    });
    onTestFinished(() => it.stop());
    await has(it, /^istio_tcp_connections_opened_total\{.*\} 1000$/);
    loop.stop();
    const perTurn = Map.groupBy(turnsAt, (at) => at);
    expect(Math.max(...Array.from(perTurn.values(), ({ length }) => length))).toBeLessThanOrEqual(64);
  });
});

/** With something in every family that has one. */
async function everything(): Promise<Metrics> {
  const it = metrics();
  it.start(sources);
  onTestFinished(() => it.stop());
  it.flowClosed(record(), label({ policy: 'a/"1"' }), localPod("web"));
  it.flowClosed(record({ reason: "policy-denied" }), label({ policy: "a/2" }), localPod("web"));
  it.flowClosed(record({ role: "inbound-plaintext", peer: "", tunnel: 0 }), label(), localPod("api"));
  it.tunnelUp({ tunnel: 1, direction: "outbound", tls, setupMs: 4 });
  it.tunnelDown({ tunnel: 1, direction: "outbound", tls, setupMs: 4, reason: "tunnel-lost" });
  it.enrolled("ebpf", 0.02);
  it.probed("ok");
  it.repaired("nftables");
  it.sandboxAsked("ADD", "ok");
  it.captureEvent("no-listener");
  it.certificateRenewed("ok");
  return it;
}
