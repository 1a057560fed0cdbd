import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { CredentialSpec } from "../../src/tunnel/engine.ts";
import { localPod, workload } from "../mesh/build.ts";
import { api, Bench, sockets, web } from "./driver-bench.ts";

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});
afterEach(async () => {
  await bench.driver.stop();
  expect(bench.errors).toEqual([]);
  vi.useRealTimers();
});

describe("pods and credentials", () => {
  const spec = (identity: CredentialSpec["identity"]): CredentialSpec => ({
    identity,
    chain: "chain",
    privateKey: "key",
    trustBundle: "bundle",
    trustDomains: ["cluster.local"],
    crl: "",
    deniedIdentities: [],
  });

  test("pods of one service account share a credential; it goes with the last of them", async () => {
    const twin = workload("web-2", "10.0.0.2", { serviceAccount: "web" });
    bench.capture(localPod(web));
    bench.capture(localPod(twin));
    expect([...bench.engine.credentials.values()]).toEqual([{ identity: web.identity }]);
    const first = bench.driver.removePod("uid-web");
    bench.engine.removals[0]?.done();
    await first;
    expect(bench.engine.credentials.size).toBe(1);
    const second = bench.driver.removePod("uid-web-2");
    bench.engine.removals[1]?.done();
    await second;
    expect(bench.engine.credentials.size).toBe(0);
  });

  test("a certificate may come before its pod and stays until it is forgotten", async () => {
    bench.driver.setCredential(web.identity, spec(web.identity));
    const pod = bench.capture(localPod(web));
    const credential = bench.engine.pods.get(pod)?.credential;
    expect(credential && bench.engine.credentials.get(credential)?.spec?.chain).toBe("chain");
    const removed = bench.driver.removePod("uid-web");
    bench.engine.removals[0]?.done();
    await removed;
    expect(bench.engine.credentials.size).toBe(1);
    bench.driver.forgetCredential(web.identity);
    expect(bench.engine.credentials.size).toBe(0);
  });

  test("a pod that the engine refuses leaves nothing behind", () => {
    bench.engine.refusePods = true;
    expect(() => bench.driver.addPod(localPod(web), sockets)).toThrow("listener is not usable");
    expect(bench.driver.stats()).toMatchObject({ pods: 0, credentials: 0 });
  });

  test("what each pod takes of its limits is told with its name", () => {
    bench.index.apply({ workloads: [web, api] });
    const [busy, idle] = [bench.capture(localPod(web)), bench.capture(localPod(api))];
    bench.out(busy, "10.0.1.1", 80);
    bench.out(busy, "10.0.1.1", 80);
    expect(bench.driver.podShares()).toMatchObject([
      { pod: busy, flows: 2, localPod: { name: "web" } },
      { pod: idle, flows: 0, localPod: { name: "api" } },
    ]);
  });

  test("a pod captured again gets a new handle; flows of the old one may finish until the pod leaves", () => {
    bench.index.apply({ workloads: [web, api] });
    const before = bench.capture(localPod(web));
    const { flow } = bench.out(before, "10.0.1.1", 80);
    const after = bench.capture(localPod(web));
    expect(after).not.toBe(before);
    expect(bench.engine.removals).toMatchObject([{ pod: before, graceMs: 2 ** 31 - 1 }]);
    expect(bench.engine.closed).toEqual([]);
    void bench.driver.removePod("uid-web", { graceMs: 1000 });
    expect(bench.engine.closed).toEqual([{ flow, reason: "pod-removed" }]);
    expect(bench.engine.removals.at(-1)).toMatchObject({ pod: after, graceMs: 1000, reason: "pod-removed" });
  });

  test("a pod that comes back and leaves again leaves flows of its first stay their own time", async () => {
    bench.index.apply({ workloads: [web, api] });
    bench.out(bench.capture(localPod(web)), "10.0.1.1", 80);
    let left = 0;
    const first = bench.driver.removePod("uid-web", { graceMs: 1000 }).then(() => left++);
    bench.capture(localPod(web));
    const second = bench.driver.removePod("uid-web", { graceMs: 1000 }).then(() => left++);
    expect(bench.engine.closed).toEqual([]);
    bench.engine.removals[1]?.done();
    await nextTurn();
    expect(left).toBe(0);
    bench.engine.removals[0]?.done();
    await Promise.all([first, second]);
    await bench.driver.removePod("uid-web");
    expect(bench.driver.stats()).toMatchObject({ pods: 0, credentials: 0 });
  });

  test("a second removal waits for the first", async () => {
    bench.capture(localPod(web));
    const ended: string[] = [];
    const first = bench.driver.removePod("uid-web", { graceMs: 1000 }).then(() => ended.push("first"));
    const second = bench.driver.removePod("uid-web").then(() => ended.push("second"));
    await nextTurn();
    expect(ended).toEqual([]);
    bench.engine.removals[0]?.done();
    await Promise.all([first, second]);
    expect(ended).toEqual(["first", "second"]);
  });

  test("new addresses and a new identity reach the engine, and outdate the pod's decisions", () => {
    const pod = bench.capture(localPod(web));
    const moved = workload("web", "10.0.0.8", { serviceAccount: "other" });
    bench.driver.updatePod(localPod(moved));
    expect(bench.engine.pods.get(pod)?.addresses).toEqual(["10.0.0.8"]);
    expect([...bench.engine.credentials.values()].map(({ identity }) => identity)).toEqual([moved.identity]);
    expect(bench.engine.epochs.at(-1)?.pod).toBe(pod);
  });

  test("a pod's groups go with it", () => {
    bench.index.apply({ workloads: [web, api] });
    const pod = bench.capture(localPod(web));
    bench.out(pod, "10.0.1.1", 80);
    expect(bench.engine.groups.size).toBe(1);
    void bench.driver.removePod("uid-web");
    expect(bench.engine.groups.size).toBe(0);
  });

  test("labels that no flow has any more are swept, those of open flows stay", () => {
    vi.useFakeTimers();
    bench = new Bench();
    bench.index.apply({ workloads: [web, api] });
    const pod = bench.capture(localPod(web));
    const { flow } = bench.out(pod, "10.0.1.1", 80);
    for (let index = 0; index < 300; index += 1) {
      const passing = workload(`p${index}`, `10.3.0.${index % 250}`);
      bench.index.apply({ workloads: [passing] });
      bench.engine.end(bench.out(pod, passing.addresses[0] ?? "", 80).flow, "ok");
    }
    expect(bench.driver.stats().labels).toBe(301);
    vi.advanceTimersByTime(30_000);
    expect(bench.driver.stats().labels).toBeLessThan(5);
    bench.engine.end(flow, "ok", { address: "10.0.1.1", port: 15008 });
    expect(bench.closed.at(-1)?.label).toMatchObject({ source: web, destination: api });
  });

  test("listings tell pod and judgement", () => {
    bench.index.apply({ workloads: [web, api] });
    const pod = bench.capture(localPod(web));
    const { flow } = bench.out(pod, "10.0.1.1", 80);
    expect(bench.driver.flows()).toMatchObject([
      { flow, judged: { source: web, destination: api }, localPod: { name: "web" } },
    ]);
  });

  test("stop may be called twice and nothing is heard after it", async () => {
    await bench.driver.stop();
    const { length } = bench.engine.epochs;
    bench.index.apply({ workloads: [web] });
    expect(bench.engine.epochs.length).toBe(length);
    await bench.driver.stop();
  });
});
