/**
 * Rules and dashboard against what a mesh really tells: every query is one that Prometheus reads, every metric that they name stands on a
 * page of the lab's agents or of its control plane.
 */
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { alerts, ruleGroups } from "../../deploy/source/alerts.ts";
import { rows } from "../../deploy/source/dashboard.ts";
import { Lab } from "../../src/lab/lab.ts";
import { controlAdminPort } from "../../src/lab/mesh/control.ts";
import { documents, idle, service, web } from "../lab/fixtures.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const run = promisify(execFile);
const namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: production, labels: {warren.dev/mode: ambient}}}";

const queries = rows
  .flatMap(({ panels }) => panels.flatMap((panel) => panel.queries.map(({ expression }) => expression)))
  .map((expression) => expression.replaceAll("$__rate_interval", "5m"));

async function promtool(groups: object, ...command: readonly string[]): Promise<string> {
  const file = join(await temporaryFolder(), "rules.yaml");
  await writeFile(file, stringify(groups));
  return (await run("promtool", [...command, file])).stdout;
}

/** Names that a query reads: what PromQL's own words and label names leave. */
function metricsIn(expression: string): string[] {
  const bare = expression.replaceAll(/\{[^}]*\}/g, "").replaceAll(/\b(by|on|ignoring|group_left) *\([^)]*\)/g, "");
  return bare.match(/\b(?:warren|istio|process)_[a-z0-9_]+/g) ?? [];
}

describe("monitoring", () => {
  it("has rules that Prometheus takes", async () => {
    expect(await promtool(ruleGroups, "check", "rules")).toContain(`SUCCESS: ${alerts.length} rules found`);
  });

  it("has a dashboard whose every query Prometheus takes", async () => {
    const record = queries.map((expr, index) => ({ record: `panel:${index}`, expr }));
    expect(await promtool({ groups: [{ name: "dashboard", rules: record }] }, "check", "rules")).toContain(
      `SUCCESS: ${queries.length} rules found`,
    );
  });

  it("wakes for a certificate that was not renewed, an agent that hears nothing and pods left out, and is quiet otherwise", async () => {
    const rules = join(await temporaryFolder(), "rules.yaml");
    await writeFile(rules, stringify(ruleGroups));
    const healthy = [
      { series: 'warren_certificate_expiry_seconds{identity="a",instance="n1"}', values: "43200x60" },
      { series: 'warren_pods{state="captured",instance="n1"}', values: "12x60" },
      { series: 'warren_mesh_epoch{instance="n1"}', values: "7x60" },
      { series: 'warren_discovery_clients{instance="c1"}', values: "1x60" },
    ];
    const ill = [
      { series: 'warren_certificate_expiry_seconds{identity="b",instance="n2"}', values: "3600x60" },
      { series: 'warren_pods{state="failed",instance="n2"}', values: "2x60" },
      { series: 'warren_mesh_epoch{instance="n2"}', values: "7x60" },
    ];
    const names = ["WarrenCertificateExpiresSoon", "WarrenPodsNotCaptured", "WarrenAgentsWithoutControl"];
    const labels: Record<string, Record<string, string>> = {
      WarrenCertificateExpiresSoon: { identity: "b", instance: "n2" },
      WarrenPodsNotCaptured: { instance: "n2" },
      WarrenAgentsWithoutControl: {},
    };
    const expected = (firing: boolean) =>
      names.map((alertname) => ({
        eval_time: "30m",
        alertname,
        exp_alerts: firing ? [{ exp_labels: { severity: "warning", ...labels[alertname] } }] : [],
      }));
    const test = (series: object[], firing: boolean) => ({
      interval: "1m",
      input_series: series,
      alert_rule_test: expected(firing),
    });
    // promtool compares annotations too, so they are left out of the rules that it is given.
    const bare = ruleGroups.groups.map((group) => ({
      ...group,
      rules: group.rules.map(({ alert, expr, labels: kept, for: held }) => ({ alert, expr, labels: kept, for: held })),
    }));
    await writeFile(rules, stringify({ groups: bare }));
    const tests = {
      rule_files: [rules],
      evaluation_interval: "1m",
      tests: [test(healthy, false), test([...healthy, ...ill], true)],
    };
    expect(await promtool(tests, "test", "rules")).toContain("SUCCESS");
  });

  describe("on a mesh that runs", () => {
    let pages: string;
    beforeAll(async () => {
      const lab = await Lab.up(
        { manifests: [documents(namespace, web(), service("web"), idle("one", "node-2"))] },
        AbortSignal.timeout(90_000),
      );
      try {
        await lab.waitReady();
        const asked = [
          "curl",
          "-sS",
          "--retry",
          "30",
          "--retry-all-errors",
          "--retry-delay",
          "1",
          "http://web.production/",
        ];
        expect((await lab.exec("one", asked)).code).toBe(0);
        const agents = ["node-1", "node-2"].map((node) =>
          lab.node(node).prober.get("127.0.0.1", 15_020, "/metrics", 30_000),
        );
        const address = lab.mesh?.control.address.v4 ?? "";
        const control = lab.node("node-1").prober.get(address, controlAdminPort, "/metrics", 30_000);
        pages = (await Promise.all([...agents, control])).map(({ body }) => body).join("\n");
      } finally {
        await lab.down();
      }
    });

    it.each([...new Set([...queries, ...alerts.map(({ expression }) => expression)].flatMap(metricsIn))])(
      "tells %s",
      (name) => {
        const family = name.replace(/_(bucket|sum|count)$/, "");
        expect(pages).toMatch(new RegExp(`^# TYPE ${name.endsWith("_total") ? name : family}(_total)? `, "m"));
      },
    );
  });
});
