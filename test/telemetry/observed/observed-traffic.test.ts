import { describe, expect, it } from "vitest";
import { ObservedTraffic } from "../../../src/telemetry/observed/observed-traffic.ts";
import { closed, label, localPod, workload } from "../support.ts";

const hour = 3_600_000;
const start = Date.UTC(2026, 0, 1);
const plain = { role: "inbound-plaintext", peer: "", tunnel: 0 } as const;

function observed(options = { rows: 100, peersPerPort: 10 }) {
  const clock = { now: start };
  const traffic = new ObservedTraffic({ now: () => clock.now }, options);
  return { clock, traffic, rows: (window = hour) => [...traffic.rows(window)] };
}

describe("ObservedTraffic", () => {
  it("keeps mutual TLS and plaintext of one client to one port apart", () => {
    const { traffic, rows } = observed();
    traffic.flowClosed(closed({ arrivedAt: start }), label(), localPod("api"));
    traffic.flowClosed(closed({ arrivedAt: start }), label(), localPod("api"));
    traffic.flowClosed(closed({ arrivedAt: start, ...plain }), label(), localPod("api"));
    expect(
      rows().map(({ security, connections, port, direction }) => ({ security, connections, port, direction })),
    ).toEqual([
      { security: "mutual_tls", connections: 2, port: 8080, direction: "inbound" },
      { security: "none", connections: 1, port: 8080, direction: "inbound" },
    ]);
    expect(rows()[0]).toMatchObject({ bytesSent: 20, bytesReceived: 40, peer: { workload: { name: "web" } } });
  });

  it("tells of refusals apart from connections, with the reason and the policy of the last", () => {
    const { traffic, rows } = observed();
    const refusal = closed({ ...plain, target: undefined, reason: "strict-plaintext", arrivedAt: start });
    traffic.flowClosed(refusal, label({ policy: "production/default" }), localPod("api"));
    expect(rows()).toMatchObject([
      {
        connections: 0,
        refused: 1,
        security: "none",
        lastRefusal: { reason: "strict-plaintext", policy: "production/default" },
      },
    ]);
  });

  it("counts an open connection while it lives, once, and each of its bytes once", () => {
    const { traffic, rows, clock } = observed();
    const flow = closed({ arrivedAt: start - 5 * hour, bytesSent: 100, bytesReceived: 0 });
    const open = { ...flow, judged: label(), localPod: localPod("api") };
    traffic.countOpen([open]);
    expect(rows()).toMatchObject([
      { open: 1, connections: 1, connectionsTotal: 1, bytesSent: 100, firstSeen: start - 5 * hour },
    ]);
    clock.now += hour;
    traffic.countOpen([{ ...open, bytesSent: 150 }]);
    expect(rows()).toMatchObject([{ open: 1, connectionsTotal: 1, bytesSent: 150, lastSeen: start + hour }]);
    traffic.flowClosed({ ...flow, bytesSent: 170 }, label(), localPod("api"));
    traffic.countOpen([]);
    expect(rows()).toMatchObject([{ open: 0, connectionsTotal: 1, bytesSent: 170 }]);
  });

  it("shows nothing of before the window", () => {
    const { traffic, rows, clock } = observed();
    traffic.flowClosed(closed({ arrivedAt: start }), label(), localPod("api"));
    clock.now += 3 * hour;
    expect(rows(hour)).toEqual([]);
    expect(rows(4 * hour)).toMatchObject([{ connections: 1 }]);
  });

  it("puts the peers of a port beyond the limit into one row, and says how many connections that were", () => {
    const { traffic, rows } = observed({ rows: 100, peersPerPort: 3 });
    for (let n = 0; n < 50; n++) {
      const source = { address: `192.0.2.${n}`, port: 1000 };
      traffic.flowClosed(closed({ ...plain, source, arrivedAt: start }), label({ source: undefined }), localPod("api"));
    }
    expect(rows()).toHaveLength(4);
    expect(rows().at(-1)).toMatchObject({ connections: 47, peer: { address: "", workload: undefined } });
    expect(traffic.stats()).toEqual({ rows: 4, evictedTotal: 0, mergedTotal: 47 });
  });

  it("forgets the row that nothing was heard of for longest, and counts that it did", () => {
    const { traffic, rows, clock } = observed({ rows: 3, peersPerPort: 10 });
    const close = (port: number) => {
      clock.now += 1000;
      traffic.flowClosed(
        closed({ destination: { address: "10.244.1.2", port }, arrivedAt: start }),
        label(),
        localPod("api"),
      );
    };
    for (const port of [1, 2, 3, 1, 4]) close(port);
    expect(rows().map(({ port }) => port)).toEqual([3, 1, 4]);
    expect(traffic.stats()).toMatchObject({ rows: 3, evictedTotal: 1 });
  });

  it("keeps what is open when it is full, whatever passes by", () => {
    const { traffic, rows } = observed({ rows: 2, peersPerPort: 10 });
    const open = { ...closed({ arrivedAt: start }), judged: label(), localPod: localPod("api") };
    traffic.countOpen([open]);
    for (const port of [1, 2, 3]) {
      traffic.flowClosed(
        closed({ destination: { address: "10.244.1.2", port }, arrivedAt: start }),
        label(),
        localPod("api"),
      );
    }
    traffic.countOpen([open]);
    expect(rows().map(({ port, open: count, connectionsTotal }) => [port, count, connectionsTotal])).toEqual([
      [3, 0, 1],
      [8080, 1, 1],
    ]);
  });

  it("knows a pod under all its addresses, and strangers by address", () => {
    const { traffic, rows } = observed();
    for (const address of ["10.244.0.7", "fd00::7"]) {
      traffic.flowClosed(
        closed({ ...plain, source: { address, port: 1 }, arrivedAt: start }),
        label(),
        localPod("api"),
      );
    }
    for (const address of ["192.0.2.1", "192.0.2.2"]) {
      const stranger = label({ source: undefined });
      traffic.flowClosed(
        closed({ ...plain, source: { address, port: 1 }, arrivedAt: start }),
        stranger,
        localPod("api"),
      );
    }
    expect(rows().map(({ peer, connections }) => [peer.workload?.name ?? peer.address, connections])).toEqual([
      ["web", 2],
      ["192.0.2.1", 1],
      ["192.0.2.2", 1],
    ]);
  });

  it("tells of what its pods connect to, by the port that was asked for", () => {
    const { traffic, rows } = observed();
    const out = closed({
      role: "outbound",
      destination: { address: "10.96.0.9", port: 80 },
      target: { address: "10.244.1.2", port: 15_008 },
      arrivedAt: start,
    });
    traffic.flowClosed(out, label(), localPod("web"));
    expect(rows()).toMatchObject([
      {
        direction: "outbound",
        port: 80,
        pod: { name: "web" },
        peer: { workload: workload("api"), address: "10.244.1.2" },
      },
    ]);
  });
});
