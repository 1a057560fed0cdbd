import { describe, expect, it } from "vitest";
import { plaintextRows } from "../../../src/cli/traffic/plaintext-report.ts";
import { exportReport, summaryLines, summaryOf } from "../../../src/cli/traffic/plaintext-words.ts";
import { modeUnderStrict, scopeOf } from "../../../src/cli/traffic/strict-rehearsal.ts";
import { peerAuthentication } from "../../mesh/build.ts";
import { api, batch, exporter, meshOf, peerOf, row, sockets, start, stranger, web } from "./support.ts";

const input = (rows: Parameters<typeof plaintextRows>[0]["rows"], view = meshOf()) => ({
  view,
  rows,
  sockets: [],
  hosts: new Map([["10.0.2.254", "n2"]]),
  scope: undefined,
});
const api8080 = {
  matchLabels: new Map([["app", "api"]]),
  name: "api",
  portModes: new Map([[8080, "PERMISSIVE"] as const]),
};

describe("the plaintext report", () => {
  it.each([
    ["a pod that nobody enrolled", peerOf(stranger), "client-not-enrolled", "warren enroll ns/outside"],
    ["a pod that was opted out", peerOf(batch), "client-opted-out", "shop/batch"],
    ["a node's address", peerOf("192.168.0.1"), "client-host-network", "hostNetwork"],
    [
      "a bridge's address, which agents know for their node's own",
      { ...peerOf("10.0.2.254"), hostNode: "n2" },
      "client-host-network",
      "hostNetwork",
    ],
    ["an address of nobody here", peerOf("203.0.113.9"), "client-outside", "203.0.113.9"],
    ["a pod that only its address tells", peerOf("10.0.1.9"), "client-not-enrolled", "warren enroll ns/outside"],
  ])("knows %s, says that STRICT would refuse it, and a way out", (_name, peer, why, fix) => {
    expect(plaintextRows(input([row(peer)]))).toMatchObject([
      { why, strict: "refuses", mode: "PERMISSIVE", connections: 3, fix: expect.stringContaining(fix) as string },
    ]);
  });

  it("has nothing to say of mutual TLS, and of unknown security", () => {
    expect(
      plaintextRows(input([row(peerOf(web), { security: "mutual_tls" }), row(peerOf(web), { security: "unknown" })])),
    ).toEqual([]);
  });

  it("blames DISABLE where that is why a client of the mesh came in clear, and no STRICT beside it", () => {
    const disable = peerAuthentication({ name: "old", mode: "DISABLE", matchLabels: new Map([["app", "api"]]) });
    const rows = plaintextRows(input([row(peerOf(web))], meshOf({ peerAuthentications: [disable] })));
    expect(rows).toMatchObject([
      {
        why: "mode-disable",
        strict: "no-effect",
        strictBecause: expect.stringContaining("shop/old keeps DISABLE") as string,
      },
    ]);
  });

  it("says that clients of the mesh would use tunnels where STRICT takes the place of DISABLE", () => {
    const disable = peerAuthentication({ mode: "DISABLE" });
    expect(plaintextRows(input([row(peerOf(web))], meshOf({ peerAuthentications: [disable] })))).toMatchObject([
      { why: "mode-disable", strict: "encrypts" },
    ]);
  });

  it("leaves exceptions for a port as they are, and tells what STRICT refuses already", () => {
    const exception = peerAuthentication(api8080);
    const strict = peerAuthentication({ mode: "STRICT" });
    const view = meshOf({ peerAuthentications: [exception, strict] });
    const found = plaintextRows(
      input([row(peerOf(stranger)), row(peerOf(stranger), { port: 9090, refused: 2 })], view),
    );
    expect(found.map(({ destination, strict: does }) => [destination.port, does])).toEqual([
      [8080, "no-effect"],
      [9090, "refused-already"],
    ]);
  });

  it("tells history from the present: a client that was enrolled since, or came with mutual TLS since", () => {
    const before = { ...peerOf(web), enrolled: false };
    expect(plaintextRows(input([row(before)]))).toMatchObject([{ why: "encrypted-since", strict: "encrypts" }]);
    const later = row(peerOf(web), { security: "mutual_tls", lastSeen: start + 2000 });
    expect(plaintextRows(input([row(peerOf(web)), later]))).toMatchObject([{ why: "encrypted-since" }]);
    const earlier = row(peerOf(web), { security: "mutual_tls", lastSeen: start });
    expect(plaintextRows(input([row(peerOf(web)), earlier]))).toMatchObject([
      { why: "client-sent-plaintext", strict: "refuses" },
    ]);
  });

  it("lists what enrolled pods send in clear, once", () => {
    const out = (to: ReturnType<typeof peerOf>) =>
      row(to, { direction: "outbound", pod: "web", workload: web.uid, podUid: "uid-web", node: "n1" });
    const rows = plaintextRows(input([out(peerOf(stranger)), out(peerOf("203.0.113.9")), out(peerOf(api))]));
    expect(rows.map(({ why, client, strict }) => [why, client.pod, strict])).toEqual([
      ["destination-outside", "web", "no-effect"],
      ["destination-not-enrolled", "web", "no-effect"],
    ]);
  });

  it("lists connections from before enrolment in both directions", () => {
    const uncarried = [
      { direction: "inbound", local: "", localPort: 5432, remote: "", remoteAddress: "10.0.1.1", remotePort: 40_000 },
      {
        direction: "outbound",
        local: "",
        localPort: 40_001,
        remote: "",
        remoteAddress: "203.0.113.9",
        remotePort: 443,
      },
    ] as const;
    const rows = plaintextRows({ ...input([]), sockets: [sockets({ uncarried })] });
    expect(
      rows.map(({ why, client, destination }) => [
        why,
        client.pod,
        destination.pod || destination.address,
        destination.port,
      ]),
    ).toEqual([
      ["open-before-enrolment", "api", "203.0.113.9", 443],
      ["open-before-enrolment", "web", "api", 5432],
    ]);
  });

  it("makes one row of pods of one owner", () => {
    const twin = {
      ...stranger,
      uid: `${stranger.uid}-2` as typeof stranger.uid,
      name: "job-2",
      addresses: ["10.0.1.10"],
    };
    const rows = plaintextRows(
      input([row(peerOf(stranger)), row(peerOf(twin))], meshOf({ workloads: [api, stranger, twin] })),
    );
    expect(rows).toMatchObject([{ connections: 6 }]);
  });
});

describe("a rehearsal", () => {
  const strict = { mode: "STRICT", policy: "(rehearsal)" };
  it.each([
    ["the mesh", "mesh", strict],
    ["its namespace", "ns/shop", strict],
    ["another namespace", "ns/outside", { mode: "PERMISSIVE", policy: "" }],
    ["the workload", "deploy/api", strict],
    ["another workload", "deploy/web", { mode: "PERMISSIVE", policy: "" }],
  ])("of STRICT for %s", (_name, scope, mode) => {
    const view = meshOf();
    expect(modeUnderStrict(view, scopeOf(view, scope, "shop"), api, 9090)).toEqual(mode);
  });

  it("keeps a port's own mode whatever is rehearsed", () => {
    const view = meshOf({ peerAuthentications: [peerAuthentication(api8080)] });
    for (const scope of ["mesh", "ns/shop", "deploy/api"]) {
      expect(modeUnderStrict(view, scopeOf(view, scope, "shop"), api, 8080)).toEqual({
        mode: "PERMISSIVE",
        policy: "shop/api",
      });
      expect(modeUnderStrict(view, scopeOf(view, scope, "shop"), api, 9090)).toEqual(strict);
    }
  });

  it("takes the place of what is on its level, however old that is", () => {
    const view = meshOf({ peerAuthentications: [peerAuthentication({ createdAt: -1, mode: "DISABLE" })] });
    expect(modeUnderStrict(view, scopeOf(view, "ns/shop", "shop"), api, 8080)).toEqual(strict);
    expect(modeUnderStrict(view, scopeOf(view, "mesh", "shop"), api, 8080)).toEqual({
      mode: "DISABLE",
      policy: "shop/default",
    });
  });

  it("refuses a namespace that nobody is in", () => {
    expect(() => scopeOf(meshOf(), "ns/nowhere", "shop")).toThrow(/namespaces with pods: outside, shop/);
  });
});

describe("what is written of it", () => {
  const rows = plaintextRows(input([row(peerOf(exporter.hostAddresses?.[0] ?? "")), row(peerOf(stranger))]));
  const summary = summaryOf({
    rows,
    coverage: [{ node: "n2", since: start, longestWindow: 0, evicted: 5, merged: 7 }],
    missing: ["n1"],
    unread: ["shop/api"],
    rehearsal: "ns/shop",
    window: 3_600_000,
    now: start + 60_000,
  });

  it("says its window and everything that it can't know", () => {
    expect(summary).toMatchObject({ watched: 60_000, refusedByStrict: 2, conversations: 2 });
    const text = summaryLines(summary).join("\n");
    for (const word of [
      "window 1h",
      "1m",
      "n1 did not answer",
      "shop/api",
      "5 rarely",
      "7 connections",
      "UDP",
      "probes",
    ]) {
      expect(text).toContain(word);
    }
  });

  it("exports every row, and no cell that a spreadsheet or browser would run", () => {
    const [first] = rows;
    if (first === undefined) throw new Error("no row");
    const sly = [{ ...first, fix: '=cmd("x"),<b>|' }];
    const csv = exportReport(sly, summary, "csv").split("\r\n");
    expect(csv).toHaveLength(3);
    expect(csv[1]).toContain(`"'=cmd(""x""),<b>|"`);
    expect(exportReport(sly, summary, "html")).toContain("&lt;b&gt;");
    expect(exportReport(sly, summary, "html")).not.toContain("<b>");
    expect(exportReport(sly, summary, "md")).toContain("&lt;b>\\|");
    expect(
      exportReport(rows, summary, "md")
        .split("\n")
        .filter((line) => line.startsWith("| ")),
    ).toHaveLength(4);
  });
});
