import { describe, expect, test } from "vitest";
import type { ClientStatus, TypeStatus } from "../../../src/control/discovery/discovery-stream.ts";
import { discoveryFindings } from "../../../src/control/operator/discovery-findings.ts";

const taken: TypeStatus = {
  wildcard: true,
  names: 0,
  resources: 1,
  pending: 0,
  acknowledged: 3,
  rejected: 0,
  unansweredMs: 0,
  lastRejection: "",
};

function client(over: Partial<TypeStatus>, agent = false): ClientStatus {
  const types = { settings: taken, address: { ...taken, ...over } };
  return { node: "w1", peer: "10.0.0.1", id: "ztunnel", agent, connectedMs: 9, types };
}

const rejected = { rejected: 2, rejectedMs: 150_000, lastRejection: "web is odd" };

describe("discovery findings", () => {
  test("name what cannot be told, and why", () => {
    expect(discoveryFindings([{ object: "policy n/p", message: "too deep" }], [client({})])).toEqual([
      { code: "resource-untold", object: "policy n/p", message: "too deep" },
    ]);
  });

  test("name a client that rejected something in the last hour, in its own words", () => {
    expect(discoveryFindings([], [client(rejected)])).toEqual([
      {
        code: "client-rejects",
        object: "w1/ztunnel",
        message: "rejected 2 responses of address, the last 2 min ago: web is odd",
      },
    ]);
  });

  test("let a rejection be over after an hour, and agents speak for themselves", () => {
    expect(discoveryFindings([], [client({ ...rejected, rejectedMs: 3_600_001 }), client(rejected, true)])).toEqual([]);
  });
});
