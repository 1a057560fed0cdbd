import { Registry } from "prom-client";
import { describe, expect, it } from "vitest";
import { adminRoutes } from "../../src/control/admin.ts";
import { certificateOutcomes, createControlMetrics } from "../../src/control/metrics.ts";
import { readOpenMetrics } from "../telemetry/open-metrics-reader.ts";

function routes(registry: Registry) {
  const nothing = () => [];
  const sources = { blockers: nothing, discoveryClients: nothing, discoveryUntold: nothing, platform: () => ({}) };
  return adminRoutes({ registry, ...sources });
}

async function page(registry: Registry, accept: string): Promise<{ type: string; text: string }> {
  const answer = await routes(registry)["GET /metrics"]?.(new URL("http://localhost/metrics"), { accept });
  return { type: answer?.type ?? "", text: typeof answer?.body === "string" ? answer.body : "" };
}

describe("control's metrics", () => {
  const expiry = { root: 3_000_000, intermediate: 2_000_000, serving: 1_000_000 };
  const metrics = createControlMetrics(
    () => expiry,
    () => 3,
    () => ({ clients: 2, untold: 1 }),
  );
  metrics.certificateRequest("issued", 0.004);
  metrics.certificateRequest("denied", 0.0001);
  metrics.discoveryResponse();

  it("come in the classic format for who does not ask for another", async () => {
    const { type, text } = await page(metrics.registry, "*/*");
    expect(type).toBe("text/plain; version=0.0.4; charset=utf-8");
    expect(text).toContain('# TYPE warren_ca_requests_total counter\nwarren_ca_requests_total{outcome="issued"} 1\n');
  });

  it("come as OpenMetrics, with the same samples, for who prefers that", async () => {
    const { type, text } = await page(metrics.registry, "application/openmetrics-text; version=1.0.0");
    expect(type).toBe("application/openmetrics-text; version=1.0.0; charset=utf-8");
    const samples = readOpenMetrics(text);
    const classic = (await page(metrics.registry, "")).text
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"));
    const bounds = (line: string) => line.replace(/le="(\d+)"/, 'le="$1.0"');
    expect(samples).toEqual(classic.map(bounds));
    expect(samples).toContain("warren_discovery_clients 2");
    expect(samples).toContain('warren_ca_expiry_timestamp_seconds{certificate="serving"} 1000');
    for (const outcome of certificateOutcomes) {
      expect(samples).toContainEqual(expect.stringContaining(`warren_ca_requests_total{outcome="${outcome}"}`));
    }
  });

  it("are a whole page when there are none", async () => {
    expect((await page(new Registry(), "application/openmetrics-text")).text).toBe("# EOF\n");
  });
});
