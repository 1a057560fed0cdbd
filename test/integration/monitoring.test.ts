/**
 * Rules and dashboard against what a mesh really tells: every query is one that Prometheus reads, every metric that they name stands on a
 * page of the lab's agents or of its control plane.
 */
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { stringify } from "yaml";
import { alerts, ruleGroups } from "../../deploy/source/alerts.ts";
import { rows } from "../../deploy/source/dashboard.ts";
import { Lab } from "../../src/lab/lab.ts";
import { controlAdminPort } from "../../src/lab/mesh/control.ts";
import { documents, idle, service, web } from "../lab/fixtures.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const run = promisify(execFile);
const namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: production, labels: {warren.dev/mode: ambient}}}";

/** Requests judged one by one, one kind of them refused, and a policy on trial that matches everything. */
const policies = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-posts, namespace: production}
spec: {action: DENY, selector: {matchLabels: {app: web}}, rules: [{to: [{operation: {methods: [POST]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: on-trial, namespace: production, annotations: {istio.io/dry-run: "true"}}
spec: {action: DENY, selector: {matchLabels: {app: web}}, rules: [{}]}`;

const panels = rows
  .flatMap((row) => row.panels.flatMap((panel) => panel.queries.map(({ expression }) => expression)))
  .map((expression) => expression.replaceAll("$__rate_interval", "5m"));
const queries = [...panels, ...alerts.map(({ expression }) => expression)];

/** A mesh in which nothing is wrong, as Prometheus sees it over three hours: start and step of each series. */
const healthy: Readonly<Record<string, string>> = {
  'warren_certificate_expiry_seconds{identity="a",instance="n1"}': "43200+0",
  'warren_certificate_renewals_total{result="ok",instance="n1"}': "0+1",
  'warren_ca_expiry_timestamp_seconds{certificate="root",instance="c1"}': "40000000+0",
  'warren_ca_expiry_timestamp_seconds{certificate="serving",instance="c1"}': "40000000+0",
  'warren_pods{state="captured",instance="n1"}': "12+0",
  'warren_capture_probes_total{result="ok",instance="n1"}': "0+1",
  'warren_flows_closed_total{reason="ok",instance="n1"}': "0+60",
  'warren_flows_closed_total{reason="connect-timeout",instance="n1"}': "0+1",
  'warren_plaintext_connections_total{outcome="passed",cause="client-outside-mesh",instance="n1"}': "0+5",
  'warren_mesh_epoch{instance="n1"}': "7+0",
  'warren_discovery_clients{instance="c1"}': "1+0",
  'warren_event_loop_lag_seconds{quantile="0.99",instance="n1"}': "0.002+0",
  'warren_internal_errors_total{instance="n1"}': "0+0",
};

/** What is wrong, and by which labels the alert tells of it. */
const faults: Readonly<Record<string, { readonly series: object; readonly labels: object }>> = {
  WarrenCertificateExpiresSoon: {
    series: { 'warren_certificate_expiry_seconds{identity="b",instance="n2"}': "3600+0" },
    labels: { identity: "b", instance: "n2" },
  },
  WarrenCertificateEnded: {
    series: { 'warren_certificate_expiry_seconds{identity="b",instance="n2"}': "-5+0" },
    labels: { identity: "b", instance: "n2" },
  },
  WarrenRenewalsFail: {
    series: { 'warren_certificate_renewals_total{result="failed",instance="n2"}': "0+1" },
    labels: { instance: "n2" },
  },
  WarrenAuthorityEndsSoon: {
    series: { 'warren_ca_expiry_timestamp_seconds{certificate="root",instance="c1"}': "2592000+0" },
    labels: { certificate: "root", instance: "c1" },
  },
  WarrenAuthorityNotRenewed: {
    series: { 'warren_ca_expiry_timestamp_seconds{certificate="serving",instance="c1"}': "600+0" },
    labels: { certificate: "serving", instance: "c1" },
  },
  WarrenPodsNotCaptured: {
    series: { 'warren_pods{state="failed",instance="n2"}': "2+0" },
    labels: { instance: "n2" },
  },
  WarrenCaptureBroken: {
    series: { 'warren_capture_probes_total{result="failed",instance="n2"}': "0+1" },
    labels: { instance: "n2" },
  },
  WarrenRefusesMany: {
    series: { 'warren_flows_closed_total{reason="connect-timeout",instance="n1"}': "0+6" },
    labels: { reason: "connect-timeout" },
  },
  WarrenPlaintextUnderStrict: {
    series: {
      'warren_plaintext_connections_total{outcome="refused",cause="client-not-enrolled",instance="n2"}': "0+1",
    },
    labels: { cause: "client-not-enrolled", instance: "n2" },
  },
  WarrenAgentsWithoutControl: { series: { 'warren_mesh_epoch{instance="n2"}': "7+0" }, labels: {} },
  WarrenEventLoopLate: {
    series: { 'warren_event_loop_lag_seconds{quantile="0.99",instance="n2"}': "0.5+0" },
    labels: { instance: "n2" },
  },
  WarrenInternalErrors: {
    series: { 'warren_internal_errors_total{instance="n2"}': "0+1" },
    labels: { instance: "n2" },
  },
};

async function promtool(groups: object, ...command: readonly string[]): Promise<string> {
  const file = join(await temporaryFolder(), "rules.yaml");
  await writeFile(file, stringify(groups));
  return (await run("promtool", [...command, file])).stdout;
}

const groupings = /\b(?:by|on|ignoring|group_left) *\(([^)]*)\)/g;
const functions = new Set([
  "and",
  "by",
  "count",
  "group_left",
  "histogram_quantile",
  "ignoring",
  "increase",
  "max",
  "min",
]);
for (const name of ["on", "rate", "sum", "time", "topk"]) functions.add(name);

/** Names that a query reads: what PromQL's own words, label names and numbers leave. */
function metricsIn(expression: string): string[] {
  const bare = expression
    .replaceAll(/\{[^}]*\}/g, "")
    .replaceAll(/\[[^\]]*\]/g, "")
    .replaceAll(groupings, "");
  return (bare.match(/\b[a-z_][a-z0-9_]*/g) ?? []).filter((name) => !functions.has(name));
}

/** Labels by which a query chooses or groups. */
function labelsIn(expression: string): string[] {
  const grouped = Array.from(expression.matchAll(groupings), ([, names = ""]) => names.split(/ *, */)).flat();
  const chosen = Array.from(expression.matchAll(/(\w+) *(?:=~|!~|!=|=)"/g), ([, name = ""]) => name);
  return [...new Set([...grouped, ...chosen])].filter((name) => name !== "");
}

const metrics = [...new Set(queries.flatMap(metricsIn))];

function sampleOf(name: string): RegExp {
  return new RegExp(`^${name}(\\{.*\\})? [-+.\\de]+$`, "m");
}

describe("monitoring", () => {
  it("has rules that Prometheus takes", async () => {
    expect(await promtool(ruleGroups, "check", "rules")).toContain(`SUCCESS: ${alerts.length} rules found`);
  });

  it("has a dashboard whose every query Prometheus takes", async () => {
    const record = panels.map((expr, index) => ({ record: `panel:${index}`, expr }));
    expect(await promtool({ groups: [{ name: "dashboard", rules: record }] }, "check", "rules")).toContain(
      `SUCCESS: ${panels.length} rules found`,
    );
  });

  it("has alerts that each wake for its fault, by the labels that it tells of, and are quiet without one", async () => {
    expect(Object.keys(faults)).toEqual(alerts.map(({ name }) => name));
    const rules = join(await temporaryFolder(), "rules.yaml");
    // promtool compares annotations too, so they are left out of the rules that it is given.
    const bare = ruleGroups.groups.map((group) => ({
      ...group,
      rules: group.rules.map(({ alert, expr, labels, for: held }) => ({ alert, expr, labels, for: held })),
    }));
    await writeFile(rules, stringify({ groups: bare }));
    const test = (series: object, alert_rule_test: object[]) => ({
      interval: "1m",
      input_series: Object.entries(series).map(([name, values]) => ({ series: name, values: `${values}x180` })),
      alert_rule_test: alert_rule_test.map((expected) => ({ eval_time: "3h", ...expected })),
    });
    const quiet = alerts.map(({ name }) => ({ alertname: name, exp_alerts: [] }));
    const tests = alerts.map(({ name, severity }) => {
      const { series, labels } = faults[name] ?? { series: {}, labels: {} };
      const exp_alerts = [{ exp_labels: { severity, ...labels } }];
      return test({ ...healthy, ...series }, [{ alertname: name, exp_alerts }]);
    });
    const all = { rule_files: [rules], evaluation_interval: "1m", tests: [test(healthy, quiet), ...tests] };
    expect(await promtool(all, "test", "rules")).toContain("SUCCESS");
  });

  describe("on a mesh that runs", () => {
    let pages: string;
    let logs: string;
    beforeAll(async () => {
      const outside = idle("outsider", "node-2").replace("name: outsider", "name: outsider, namespace: outside");
      const manifests = [documents(namespace, web(), service("web"), idle("one", "node-2"), outside, policies)];
      const lab = await Lab.up(
        { manifests, agentSettings: { accessLog: { namespaces: ["production=failures"] } } },
        AbortSignal.timeout(90_000),
      );
      try {
        await lab.waitReady();
        const ask = async (pod: string, ...flags: readonly string[]) =>
          (await lab.exec(pod, ["curl", "-s", "--max-time", "15", "-w", "%{http_code}", "-o", "/dev/null", ...flags]))
            .stdout;
        pages = await vi.waitFor(
          async () => {
            // Each of them leaves something to count: a judged request, one that is refused, and plaintext.
            const url = "http://web.production/";
            expect(await ask("one", url)).toBe("200");
            expect(await ask("one", "-X", "POST", url)).toBe("403");
            expect(await ask("outside/outsider", url)).toBe("200");
            const agents = ["node-1", "node-2"].map((node) =>
              lab.node(node).prober.get("127.0.0.1", 15_020, "/metrics", 30_000),
            );
            const address = lab.mesh?.control.address.v4 ?? "";
            const control = lab.node("node-1").prober.get(address, controlAdminPort, "/metrics", 30_000);
            const text = (await Promise.all([...agents, control])).map(({ body }) => body).join("\n");
            for (const name of metrics) expect(text).toMatch(sampleOf(name));
            logs = (await Promise.all(lab.nodes().map((node) => lab.agentLog(node)))).join("\n");
            expect(logs).toMatch(/ access request failed .*reason=policy-denied policy=production\/no-posts/);
            return text;
          },
          { timeout: 120_000, interval: 1000 },
        );
      } finally {
        await lab.down();
      }
    }, 300_000);

    it("writes only what failed of a namespace whose access log is to hold no more", () => {
      expect(logs).not.toMatch(/ access (connection|request) complete/);
    });

    it.each(queries)("tells all metrics and labels of %s", (query) => {
      const read = metricsIn(query);
      expect(read.length).toBeGreaterThan(0);
      const samples = read.flatMap((name) => pages.split("\n").filter((line) => sampleOf(name).test(line)));
      // `instance` is the scraper's own.
      for (const label of labelsIn(query).filter((name) => name !== "instance")) {
        expect(samples.filter((line) => line.includes(`${label}="`))).not.toEqual([]);
      }
    });
  });
});
