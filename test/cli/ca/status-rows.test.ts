import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import picocolors from "picocolors";
import { describe, expect, test } from "vitest";
import { authorityDocument, statusCode, statusLines } from "../../../src/cli/ca/status-rows.ts";
import { Origin, Rotation_Phase, StatusSchema } from "../../../src/xds/gen/warren/authority/v1/authority_pb.ts";

const now = Date.UTC(2026, 5, 1);
const hour = 3_600_000;
const at = timestampFromMs(now - hour);
const plain = picocolors.createColors(false);
const certificate = (subject: string, left: number) => ({
  subject,
  keyType: "P-256",
  serial: "5f:0c",
  notBefore: at,
  notAfter: timestampFromMs(now + left),
});
const quiet = {
  trustDomain: "cluster.local",
  origin: Origin.SELF_SIGNED,
  roots: [certificate("CN=root", 48 * hour)],
  intermediate: certificate("CN=mesh", 26 * hour),
  serving: certificate("CN=control", hour),
};
const document = (changed: object = {}) => authorityDocument(create(StatusSchema, { ...quiet, ...changed }), now);
const lines = (changed: object = {}) => statusLines(document(changed), now, plain).join("\n");

describe("the status of the authority", () => {
  test("lists each certificate with what is left of it", () => {
    expect(lines()).toMatch(/root +CN=root +P-256 +2026-06-03T00:00:00.000Z +2d +5f:0c/);
    expect(lines()).toMatch(/intermediate +CN=mesh .* 1d2h /);
    expect(lines()).toContain("No rotation of the root is under way.");
    expect(lines()).toContain("Nothing is revoked.");
    expect(statusCode(document())).toBe(0);
  });

  test("names who a rotation waits for", () => {
    const rotation = {
      phase: Rotation_Phase.TRUST,
      phaseSince: at,
      newRoot: "ab".repeat(32),
      confirmedNodes: ["w1"],
      excusedNodes: ["w3"],
      waiting: [{ node: "w2", reason: "its agent is not connected" }],
    };
    expect(lines({ rotation })).toContain("waiting for w2: its agent is not connected");
    expect(lines({ rotation })).toContain("confirmed by 1 nodes, not waiting for w3");
    expect(document({ rotation }).rotation).toMatchObject({ phase: "trust", confirmed: ["w1"], excused: ["w3"] });
  });

  test("says what happens by itself, and until when it is waited for those who cannot be asked", () => {
    const planned = { intermediateRenewsAt: at, rootRotatesAt: timestampFromMs(now + 30 * hour) };
    expect(lines(planned)).toContain("The intermediate is renewed at 2026-05-31T23:00:00.000Z.");
    expect(lines(planned)).toContain("The root is rotated by itself at 2026-06-02T06:00:00.000Z.");
    expect(lines()).not.toContain("by itself");
    const waiting = [{ node: "w2", reason: "its agent is not connected" }];
    const rotation = { phase: Rotation_Phase.TRUST, newRoot: "ab".repeat(32), opensAt: timestampFromMs(now + hour) };
    expect(lines({ rotation: { ...rotation, waiting } })).toContain("cannot be asked until 2026-06-01T01:00:00.000Z");
    expect(lines({ rotation })).not.toContain("cannot be asked");
  });

  test("names what is revoked", () => {
    const revoked = {
      revokedSerials: [{ serial: "2a", revokedAt: at }],
      deniedIdentities: [{ identity: "spiffe://cluster.local/ns/a/sa/b", deniedAt: at }],
      crlNumber: 4n,
    };
    expect(lines(revoked)).toContain("Revoked: 1 serial numbers (list 4), 1 identities.");
    expect(lines(revoked)).toContain("spiffe://cluster.local/ns/a/sa/b since 2026-05-31T23:00:00.000Z");
  });

  test("is a finding when something is to be done", () => {
    expect(statusCode(document({ problems: ["ca-key.pem is missing"] }))).toBe(1);
    expect(statusCode(document({ warnings: ["ca-cert.pem ends soon"] }))).toBe(0);
    expect(statusCode(document({ intermediate: certificate("CN=mesh", -hour) }))).toBe(1);
    expect(lines({ problems: ["ca-key.pem is missing"] })).toContain("× ca-key.pem is missing");
  });
});
