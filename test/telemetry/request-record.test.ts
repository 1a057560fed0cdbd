import { expect, it } from "vitest";
import { AccessLog } from "../../src/telemetry/access-log.ts";
import { Metrics } from "../../src/telemetry/metrics.ts";
import type { RequestRecord } from "../../src/telemetry/request-record.ts";
import { localPod, requestRecord, webIdentity } from "./fixtures.ts";

const refused = requestRecord({ address: "10.244.1.5", port: 38_472 }, webIdentity, {
  shadow: [{ policy: "production/trial", action: "DENY" }],
});

function lines(mode: "all" | "failures" | "off", ...records: readonly RequestRecord[]): string[] {
  const written: string[] = [];
  const sink = { write: (line: string) => written.push(line), dropped: 0, close: async () => {} };
  const log = new AccessLog(
    { sink, now: () => 1_700_000_000_031, random: () => 0 },
    { mode, namespaces: new Map(), sample: 1, format: "text" },
  );
  for (const record of records) log.requestEnded(record, localPod("api"));
  return written;
}

it("writes a line per judged request, with the rule that decided", () => {
  expect(lines("all", refused)).toEqual([
    "2023-11-14T22:13:20.031Z warn  access request failed src.addr=10.244.1.5:38472 " +
      "src.identity=spiffe://cluster.local/ns/production/sa/web dst.addr=10.244.2.8:8080 dst.workload=api-1 " +
      "dst.namespace=production protocol=HTTP/1.1 method=POST host=api path=/orders status=403 bytes_sent=0 bytes_recv=5 " +
      "duration=1ms flow=7 reason=policy-denied policy=production/api-authz shadow=production/trial:DENY " +
      'error="an AuthorizationPolicy refused this connection"\n',
  ]);
});

it("leaves out requests that were answered when only failures are wanted", () => {
  const answered: RequestRecord = { ...refused, status: 200, reason: "ok", rule: 0 };
  expect(lines("failures", answered, refused)).toHaveLength(1);
  expect(lines("off", answered, refused)).toEqual([]);
  expect(lines("all", answered)[0]).toContain(" rule=0 ");
});

it("counts requests by answer and reason, and what policies decided", async () => {
  const metrics = new Metrics({ now: () => 0 }, { version: "1", policies: 10, series: 100, seriesIdleMs: 1000 });
  metrics.requestEnded(refused);
  metrics.requestEnded({ ...refused, status: 0, reason: "reset-by-source", policy: "", shadow: [] });
  let text = "";
  for await (const piece of metrics.pieces("classic")) text += piece;
  expect(text).toContain('warren_http_requests_total{status="4xx",reason="policy-denied"} 1');
  expect(text).toContain('warren_http_requests_total{status="none",reason="reset-by-source"} 1');
  expect(text).toContain('warren_policy_decisions_total{policy="production/api-authz",reason="policy-denied"} 1');
  expect(text).toContain('warren_policy_shadow_matches_total{policy="production/trial",action="DENY"} 1');
});
