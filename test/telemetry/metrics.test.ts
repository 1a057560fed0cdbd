import { describe, expect, it } from "vitest";
import { Metrics, type MetricsSources } from "../../src/telemetry/metrics.ts";
import { label, localPod, record, webIdentity, workload } from "./fixtures.ts";

const now = 1_700_000_000_000;
const tls = { version: "TLSv1.3", group: "X25519MLKEM768", cipher: "TLS_AES_256_GCM_SHA384" };

const sources: MetricsSources = {
  openFlows: () => [],
  engineKind: "typescript",
  engine: () => ({ flowsOpen: 3, flowsTotal: 12 }),
  driver: () => ({ heldFlows: 1 }),
  log: () => ({ droppedTotal: 4 }),
  capture: () => ({ "connect4 redirected": 5 }),
  certificates: () => [{ identity: webIdentity, expiresAt: now + 3_600_000 }],
  pods: () => ({ captured: 2, failed: 1 }),
  mesh: () => ({ epoch: 9, changedAt: now - 5000 }),
};

function metrics(policies = 100): Metrics {
  return new Metrics({ now: () => now }, { version: "1.2.3", policies, series: 10, seriesIdleMs: 1e6 });
}

async function has(of: Metrics, ...lines: (string | RegExp)[]): Promise<void> {
  const text = await of.text();
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
      'warren_capture_total{counter="connect4 redirected"} 5',
      `warren_certificate_expiry_seconds{identity="${webIdentity}"} 3600`,
      'warren_pods{state="captured"} 2',
      "warren_mesh_epoch 9",
      "warren_mesh_age_seconds 5",
      /^warren_event_loop_lag_seconds\{quantile="0.99"\} [\d.e-]+$/,
      /^process_resident_memory_bytes \d+$/,
      /^process_open_fds \d+$/,
      /^process_max_fds \d+$/,
      /^warren_build_info\{version="1.2.3",engine="typescript",node="24[\d.]+",openssl=".+"\} 1$/,
    );
    it.stop();
    expect(await it.text()).not.toContain("warren_engine_flows_open");
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
    it.flowClosed(record({ role, peer: "", tunnel: 0 }), label(over), localPod("web"));
    it.flowClosed(record({ role, peer: "", tunnel: 0, reason: "strict-plaintext" }), label(over), localPod("web"));
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

  it("are well-formed: every sample's family is declared once, with help", async () => {
    const it = metrics();
    it.start(sources);
    it.flowClosed(record(), label(), localPod("web"));
    const text = await it.text();
    it.stop();
    const declared = [...text.matchAll(/^# TYPE (\S+) (counter|gauge|histogram)$/gm)].map((match) => match[1]);
    expect(new Set(declared).size).toBe(declared.length);
    for (const name of declared) expect(text).toContain(`# HELP ${name} `);
    for (const line of text.split("\n").filter((row) => row !== "" && !row.startsWith("#"))) {
      const name = /^[a-z_0-9]+/.exec(line)?.[0] ?? "";
      expect(declared.some((family) => name === family || name.replace(/_(bucket|sum|count)$/, "") === family)).toBe(
        true,
      );
    }
  });
});
