import { describe, expect, it } from "vitest";
import type { Identity } from "../../../src/model/identity.ts";
import type { Workload } from "../../../src/model/workload.ts";
import { RefusedRequests } from "../../../src/telemetry/observed/refused-requests.ts";
import type { RequestRecord } from "../../../src/telemetry/request-record.ts";
import { localPod, requestRecord, webIdentity, workload } from "../fixtures.ts";

const hour = 3_600_000;
const start = Date.UTC(2026, 0, 1);
const webAddress = "10.244.1.5";

function request(over: Partial<RequestRecord> = {}, from = webAddress, peer: Identity | "" = webIdentity) {
  return requestRecord({ address: from, port: 38_472 }, peer, over);
}

function refusedRequests(options = { rows: 100, peersPerPort: 10 }) {
  const clock = { now: start };
  const workloads = new Map<string, Workload>([[webAddress, workload("web")]]);
  const table = new RefusedRequests(
    { now: () => clock.now, workloadByAddress: (address) => workloads.get(address) },
    options,
  );
  return { clock, table, workloads, rows: (window = hour) => [...table.rows(window)] };
}

describe("RefusedRequests", () => {
  it("tells who was refused on which port, how often, and the last of them with the policy that refused it", () => {
    const { table, rows, clock } = refusedRequests();
    table.requestEnded(request({ method: "PUT", policy: "production/other" }), localPod("api"));
    clock.now += 1000;
    table.requestEnded(request(), localPod("api"));
    expect(rows()).toMatchObject([
      {
        port: 8080,
        peer: { workload: { name: "web-1" }, identity: webIdentity },
        requests: 2,
        requestsTotal: 2,
        firstSeen: start,
        lastSeen: start + 1000,
        last: { method: "POST", path: "/orders", status: 403, reason: "policy-denied", policy: "production/api-authz" },
      },
    ]);
  });

  it("knows nothing of requests that the application answered", () => {
    const { table, rows } = refusedRequests();
    table.requestEnded(request({ status: 200, reason: "ok" }), localPod("api"));
    table.requestEnded(request({ status: 0, reason: "reset-by-source" }), localPod("api"));
    table.requestEnded(request(), undefined);
    expect(rows()).toEqual([]);
  });

  it("keeps what is proven and what is not apart, and does not take an address for a proof", () => {
    const { table, rows, workloads } = refusedRequests();
    table.requestEnded(request(), localPod("api"));
    table.requestEnded(request({}, webAddress, ""), localPod("api"));
    workloads.set(webAddress, workload("newcomer"));
    table.requestEnded(request(), localPod("api"));
    expect(rows().map(({ peer }) => [peer.workload?.name, peer.identity])).toEqual([
      ["web-1", webIdentity],
      ["web-1", ""],
      [undefined, webIdentity],
    ]);
  });

  it("shows nothing of before the window", () => {
    const { table, rows, clock } = refusedRequests();
    table.requestEnded(request(), localPod("api"));
    clock.now += 3 * hour;
    expect(rows(hour)).toEqual([]);
    expect(rows(4 * hour)).toMatchObject([{ requests: 1 }]);
  });

  it("is bounded: further peers of a port share a row, the oldest row goes, long texts are cut", () => {
    const { table, rows } = refusedRequests({ rows: 4, peersPerPort: 2 });
    for (let n = 0; n < 5; n++) table.requestEnded(request({}, `192.0.2.${n}`, ""), localPod("api"));
    expect(rows().map(({ peer, requests }) => [peer.address, requests])).toEqual([
      ["192.0.2.0", 1],
      ["192.0.2.1", 1],
      ["", 3],
    ]);
    for (let n = 0; n < 2; n++) table.requestEnded(request({ path: "x".repeat(5000) }, `192.0.2.${n}`), localPod("db"));
    expect(rows()).toHaveLength(4);
    expect(rows().at(-1)?.last.path).toHaveLength(257);
    // The place of the one that went is free again.
    table.requestEnded(request({}, "192.0.2.9", ""), localPod("api"));
    expect(rows().at(-1)?.peer.address).toBe("192.0.2.9");
  });
});
