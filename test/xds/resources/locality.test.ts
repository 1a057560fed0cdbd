import { fromBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import type { Service, TrafficPreference } from "../../../src/model/service.ts";
import type { Locality } from "../../../src/model/workload.ts";
import {
  AddressSchema,
  LoadBalancing_HealthPolicy,
  LoadBalancing_Mode,
  LoadBalancing_Scope,
} from "../../../src/xds/gen/istio/workload/workload_pb.ts";
import { decodeService, encodeService } from "../../../src/xds/resources/service.ts";
import { decodeWorkload, encodeWorkload } from "../../../src/xds/resources/workload.ts";
import { service, workload } from "../../mesh/build.ts";

function onWire(bytes: Uint8Array) {
  const { type } = fromBinary(AddressSchema, bytes);
  if (type.case === undefined) throw new Error("no address");
  return type;
}

const preferring = (traffic: TrafficPreference | undefined): Service => ({
  ...service("api", ["10.96.0.1"], { 80: [] }).service,
  ...(traffic === undefined ? {} : { traffic }),
});

function wireService(traffic: TrafficPreference | undefined) {
  const type = onWire(encodeService(preferring(traffic)).bytes);
  if (type.case !== "service") throw new Error("no service");
  return type.value;
}

const { REGION, ZONE, NODE, SUBZONE, NETWORK } = LoadBalancing_Scope;
const { STRICT, FAILOVER, PASSTHROUGH, UNSPECIFIED_MODE } = LoadBalancing_Mode;

test.each<[TrafficPreference | undefined, LoadBalancing_Scope[], LoadBalancing_Mode]>([
  [undefined, [], UNSPECIFIED_MODE],
  [{ scopes: ["region", "zone"], mode: "failover" }, [REGION, ZONE], FAILOVER],
  [{ scopes: ["region", "zone", "node"], mode: "failover" }, [REGION, ZONE, NODE], FAILOVER],
  [{ scopes: ["node"], mode: "strict" }, [NODE], STRICT],
])("%j is said in Istio's words, and comes back", (traffic, routingPreference, mode) => {
  const message = wireService(traffic);
  // Which endpoints are healthy enough is said with the workloads, whatever the preference.
  expect(message.loadBalancing).toMatchObject({
    routingPreference,
    mode,
    healthPolicy: LoadBalancing_HealthPolicy.ALLOW_ALL,
  });
  expect(decodeService(message).traffic).toEqual(traffic);
});

describe("from istiod", () => {
  test.each<[string, LoadBalancing_Scope[], LoadBalancing_Mode, TrafficPreference | undefined]>([
    [
      "scopes in which all agree are left out",
      [NETWORK, REGION, ZONE, SUBZONE],
      FAILOVER,
      { scopes: ["region", "zone"], mode: "failover" },
    ],
    ["nothing is left of scopes that all agree in", [NETWORK], FAILOVER, undefined],
    ["a mode that chooses nothing prefers nothing", [ZONE], PASSTHROUGH, undefined],
  ])("%s", (_name, routingPreference, mode, expected) => {
    const message = wireService({ scopes: ["node"], mode: "strict" });
    if (message.loadBalancing === undefined) throw new Error("no load balancing");
    Object.assign(message.loadBalancing, { routingPreference, mode });
    expect(decodeService(message).traffic).toEqual(expected);
  });
});

test.each<Locality | undefined>([{ region: "eu", zone: "eu-a" }, { region: "", zone: "a" }, undefined])(
  "a pod's place %j comes back",
  (locality) => {
    const type = onWire(encodeWorkload(workload("api", "10.0.0.1", locality === undefined ? {} : { locality })).bytes);
    if (type.case !== "workload") throw new Error("no workload");
    const decoded = decodeWorkload(type.value);
    expect(decoded.kind === "workload" ? decoded.workload.locality : "external").toEqual(locality);
  },
);
