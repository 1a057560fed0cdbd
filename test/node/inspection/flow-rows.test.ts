import { create, toBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { flowMatches, wireEnds, wireFlow } from "../../../src/node/inspection/flow-rows.ts";
import type { OpenFlow } from "../../../src/tunnel/driver.ts";
import { FlowFilterSchema, FlowRole, FlowSchema, Security } from "../../../src/xds/gen/warren/inspect/v1/inspect_pb.ts";
import { apiIdentity, label, localPod, record, webIdentity } from "../../telemetry/fixtures.ts";

const outbound = {
  flow: { ...record(), role: "outbound" as const, peer: apiIdentity, tunnel: 3 },
  label: label(),
  pod: localPod("web"),
};
const plain = {
  ...outbound,
  flow: { ...outbound.flow, role: "inbound-plaintext" as const, peer: "" as const, tunnel: 0 },
};

describe("a filter", () => {
  test.each([
    [{}, true],
    [{ sourceNamespace: "production", sourceWorkload: "web-1" }, true],
    [{ sourceWorkload: "Deployment/web", destinationWorkload: "Deployment/api" }, true],
    [{ sourceWorkload: "web" }, false],
    [{ destinationNamespace: "elsewhere" }, false],
    [{ podUid: "uid-web" }, true],
    [{ podUid: "uid-api" }, false],
    [{ security: Security.MUTUAL_TLS, role: FlowRole.OUTBOUND }, true],
    [{ security: Security.NONE }, false],
    [{ role: FlowRole.INBOUND_HBONE }, false],
    [{ destinationPort: outbound.flow.destination.port }, true],
    [{ destinationPort: 1 }, false],
  ])("%j: %s", (fields, expected) => {
    expect(flowMatches(create(FlowFilterSchema, fields), outbound)).toBe(expected);
  });

  test("of nothing takes everything, of a workload no stranger", () => {
    expect(flowMatches(undefined, outbound)).toBe(true);
    const stranger = { ...outbound, label: label({ source: undefined }) };
    expect(flowMatches(create(FlowFilterSchema, { sourceWorkload: "web-1" }), stranger)).toBe(false);
  });
});

test("identities stand only where something proved them", () => {
  expect([wireEnds(outbound).source.identity, wireEnds(outbound).destination.identity]).toEqual([
    webIdentity,
    apiIdentity,
  ]);
  expect([wireEnds(plain).source.identity, wireEnds(plain).destination.identity]).toEqual(["", ""]);
});

test("times with fractions, as clocks and jitter make them, can be encoded", () => {
  const open = { ...outbound.flow, arrivedAt: 1_700_000_000_000.7, judged: outbound.label, localPod: outbound.pod };
  const row = create(FlowSchema, wireFlow(open as unknown as OpenFlow));
  expect(toBinary(FlowSchema, row).length).toBeGreaterThan(0);
  expect(row.security).toBe(Security.MUTUAL_TLS);
});
