import { describe, expect, it } from "vitest";
import { type ContainerReport, isReady, phaseOf, statusOf } from "../../../src/lab/cluster/pod-status.ts";
import { podOf } from "../objects.ts";

const running: ContainerReport = {
  name: "main",
  state: { kind: "running", since: new Date(0) },
  ready: true,
  restarts: 0,
};
const waiting: ContainerReport = { ...running, state: { kind: "waiting", reason: "x" }, ready: false };
const ended = (exitCode: number): ContainerReport => ({
  ...running,
  state: { kind: "terminated", exitCode },
  ready: false,
});

describe("phaseOf", () => {
  it.each([
    ["nothing has begun", "Always", [waiting], "Pending"],
    ["something runs", "Always", [running, waiting], "Running"],
    ["it waits to be started again", "Always", [{ ...waiting, restarts: 1 }], "Running"],
    ["all ended well and stay so", "Never", [ended(0), ended(0)], "Succeeded"],
    ["all ended well and stay so", "OnFailure", [ended(0)], "Succeeded"],
    ["one ended badly and stays so", "Never", [ended(0), ended(3)], "Failed"],
    ["one still runs", "Never", [ended(0), running], "Running"],
  ] as const)("when %s under %s is as Kubernetes has it", (_, policy, containers, phase) => {
    expect(phaseOf(podOf("x", { spec: `restartPolicy: ${policy}` }), containers)).toBe(phase);
  });
});

describe("statusOf", () => {
  const report = (ready: boolean) => ({
    containers: [{ ...running, ready }],
    initialized: true,
    addresses: ["10.244.1.2", "fd00:10:244:1::2"],
    nodeAddresses: ["172.18.1.1", "fd00:172:18::1:1"],
    startedAt: new Date(0),
  });

  it("holds the addresses of both families, the first one apart", () => {
    expect(statusOf(podOf("x"), report(true), new Date(0))).toMatchObject({
      phase: "Running",
      podIP: "10.244.1.2",
      podIPs: [{ ip: "10.244.1.2" }, { ip: "fd00:10:244:1::2" }],
      hostIP: "172.18.1.1",
    });
  });

  it("is ready when all containers are", () => {
    const pod = podOf("x");
    expect(isReady({ ...pod, status: statusOf(pod, report(true), new Date(0)) })).toBe(true);
    expect(isReady({ ...pod, status: statusOf(pod, report(false), new Date(0)) })).toBe(false);
  });

  it("keeps the time of a condition's last change while it does not change", () => {
    const pod = podOf("x");
    const first = statusOf(pod, report(false), new Date(1000));
    const second = statusOf({ ...pod, status: first }, report(true), new Date(5000));
    const times = Object.fromEntries((second.conditions ?? []).map((one) => [one.type, one["lastTransitionTime"]]));
    expect(times).toMatchObject({ Initialized: "1970-01-01T00:00:01Z", Ready: "1970-01-01T00:00:05Z" });
  });
});
