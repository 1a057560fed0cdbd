import { expect, it } from "vitest";
import { MeshResources } from "../../../src/control/discovery/mesh-resources.ts";
import { ResourceStore, type StoreChange } from "../../../src/control/discovery/resource-store.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { localPod, mesh, service, workload } from "../../mesh/build.ts";

const authority = { addTo: <T>(settings: T) => settings, onChange: () => () => undefined };

it("encodes a large mesh in slices, tells of it once, and hands a moved pod from node to node", async () => {
  const pods = Array.from({ length: 6000 }, (_, at) =>
    workload(`w${at}`, `10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`, { node: `n${at % 300}` }),
  );
  const services = Array.from({ length: 200 }, (_, at) => {
    const members = pods.slice(at * 30, at * 30 + 30);
    const endpoints = members.map(({ uid, addresses: [address = ""] }) => ({ workload: uid, address, targetPort: 80 }));
    return service(`s${at}`, [`10.96.0.${at}`], { 80: endpoints }, members);
  });
  const localPods = pods.map((pod) => ({ node: pod.node, pod: localPod(pod) }));
  const view = mesh({ workloads: pods, services, localPods, networkPolicies: [] });
  const store = new ResourceStore();
  const told: StoreChange[] = [];
  store.onChange((change) => told.push(change));
  const source = { view, onChange: (listener: Parameters<typeof view.onChange>[0]) => view.onChange(listener) };
  const resources = new MeshResources({ source, store, authority, clock: systemClock }, { debounceMs: 1 });
  let turns = 0;
  const counting = setInterval(() => turns++, 1);
  const start = resources.start();
  // A change in the middle of it is not lost.
  setImmediate(() => view.apply({ workloads: [workload("late", "10.9.9.9")] }));
  await start;
  clearInterval(counting);
  expect(turns).toBeGreaterThan(3);
  expect(told.length).toBe(1);
  expect(store.all("address").size).toBeGreaterThanOrEqual(6200);
  await expect.poll(() => store.all("address").size).toBe(6201);
  expect(store.get("localPod", "uid-w7")?.node).toBe("n7");
  const moved = { ...localPod(workload("w7", "10.0.0.7")) };
  view.apply({ localPods: [{ node: "n8", pod: moved }] });
  await expect.poll(() => store.get("localPod", "uid-w7")?.node).toBe("n8");
  view.apply({ removedLocalPods: ["uid-w7"] });
  await expect.poll(() => store.get("localPod", "uid-w7")).toBeUndefined();
  expect(store.all("localPod").size).toBe(5999);
  resources.stop();
});
