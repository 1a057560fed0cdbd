import { PassThrough } from "node:stream";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { HandedFlow, RequestJudge } from "../../src/tunnel/driver.ts";
import type { FlowId } from "../../src/tunnel/engine.ts";
import { authorizationPolicy, localPod, peerAuthentication, workload } from "../mesh/build.ts";
import { api, Bench, sockets, web } from "./driver-bench.ts";

let bench: Bench;
afterEach(async () => {
  await bench.driver.stop();
  expect(bench.errors).toEqual([]);
});

describe("requests", () => {
  const gets = authorizationPolicy("ALLOW", [{ from: [{ namespaces: ["shop"] }], to: [{ methods: ["GET"] }] }]);
  const get = { method: "GET", host: "api", path: "/", header: () => [] };
  const post = { ...get, method: "POST" };
  let judge: RequestJudge | undefined;
  let handed: HandedFlow[] = [];
  let rejudged: FlowId[] = [];

  beforeEach(() => {
    handed = [];
    rejudged = [];
    bench = new Bench((offered) => {
      judge = offered;
      return {
        enforce: (flow) => handed.push(flow),
        rejudge: (concerns) => rejudged.push(...handed.filter(concerns).map(({ flow }) => flow)),
        drain: () => undefined,
      };
    });
    bench.index.apply({ workloads: [web, api], authorizationPolicies: [gets] });
  });

  const outcome = (flow: HandedFlow | undefined, request: typeof get): string | undefined =>
    flow && judge?.authorize(flow, request).outcome;

  test("on a port with HTTP rules are judged one by one, by the policies of their time", () => {
    const pod = bench.capture(localPod(api));
    const { flow, decision } = bench.tunnelled(pod);
    expect(decision).toEqual({ kind: "hand-over", label: 1, baggage: expect.stringContaining("service.name=api") });
    bench.engine.events.flowHandedOver(flow, new PassThrough());
    const destination = { address: "10.0.1.1", port: 80 };
    expect(handed).toEqual([
      { flow, pod, peer: web.identity, source: { address: "10.0.0.1", port: 40000 }, destination },
    ]);
    expect([outcome(handed[0], get), outcome(handed[0], post)]).toEqual(["allow", "deny"]);
    bench.index.apply({ authorizationPolicies: [authorizationPolicy("DENY", [{ to: [{ methods: ["GET"] }] }])] });
    expect(bench.engine.closed).toEqual([]);
    expect(outcome(handed[0], get)).toBe("deny");
    expect(rejudged).toEqual([flow]);
    bench.index.apply({ workloads: [workload("other", "10.0.9.9")] });
    expect(rejudged).toEqual([flow]);
    bench.engine.end(flow, "ok");
    expect(bench.driver.stats().handedOverFlows).toBe(0);
  });

  test("are refused with the connection's reason once it is forbidden, and after the pod has left", () => {
    const pod = bench.capture(localPod(api));
    const { flow } = bench.plain(pod);
    bench.engine.events.flowHandedOver(flow, new PassThrough());
    bench.index.apply({ peerAuthentications: [peerAuthentication({ mode: "STRICT" })] });
    expect(bench.engine.closed).toEqual([{ flow, reason: "policy-changed" }]);
    expect(handed[0] && judge?.authorize(handed[0], get)).toMatchObject({
      outcome: "deny",
      reason: "strict-plaintext",
    });
    expect(judge?.podSockets(pod)).toBe(sockets);
    bench.index.apply({ removedWorkloads: [api.uid] });
    expect(handed[0] && judge?.authorize(handed[0], get)).toMatchObject({ outcome: "deny", reason: "pod-removed" });
  });

  test("that begin to matter end the flows that pass unread, and only those", () => {
    bench.index.apply({ removedAuthorizationPolicies: ["shop/allow"] });
    const pod = bench.capture(localPod(api));
    const { flow } = bench.tunnelled(pod);
    bench.index.apply({ authorizationPolicies: [gets] });
    expect(bench.engine.closed).toEqual([{ flow, reason: "policy-changed" }]);
    bench.tunnelled(pod);
    bench.index.apply({ authorizationPolicies: [{ ...gets, createdAt: 2 }] });
    expect(bench.engine.closed).toHaveLength(1);
  });

  test("that nobody was to read are not passed", () => {
    const plaintext = new PassThrough();
    bench.engine.events.flowHandedOver(4242 as FlowId, plaintext);
    expect(plaintext.destroyed).toBe(true);
    expect(handed).toEqual([]);
  });
});
