import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { clusterAddresses } from "../../../src/lab/machine/addresses.ts";
import { cgroup2Mount } from "../../../src/lab/machine/cgroup.ts";
import { identifyProcess, isRunning, parseStat } from "../../../src/lab/machine/process-identity.ts";

describe("cgroup2Mount", () => {
  it.each([
    ["the unified hierarchy", "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw", "/sys/fs/cgroup"],
    [
      "a hybrid set-up",
      "31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n32 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 none rw",
      "/sys/fs/cgroup/unified",
    ],
    ["a bind mount of a part of it", "33 30 0:28 /a /mnt/part rw - cgroup2 none rw", undefined],
    ["no version 2 at all", "31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu", undefined],
  ])("finds %s", (_, mountinfo, expected) => {
    expect(cgroup2Mount(mountinfo)).toBe(expected);
  });
});

describe("process identity", () => {
  it("reads state and start time past a name with blanks and brackets", () => {
    const fields = Array.from({ length: 50 }, (_, index) => String(index + 3));
    expect(parseStat(`17 (a) b (c)) S ${fields.slice(1).join(" ")}`)).toEqual({ state: "S", startTime: "22" });
  });

  it("tells a process from its successor and from a dead one", async () => {
    const child = spawn("sleep", ["infinity"]);
    const identity = identifyProcess(child.pid ?? 0);
    if (identity === undefined) throw new Error("the child is not there");
    expect(isRunning(identity)).toBe(true);
    expect(isRunning({ ...identity, startTime: "1" })).toBe(false);
    expect(isRunning({ ...identity, bootId: "another" })).toBe(false);
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(isRunning(identity)).toBe(false);
  });
});

describe("clusterAddresses", () => {
  it("keeps nodes, pods and Services apart in both families", () => {
    const { node, pod, gateway, service, control, maximumNodes, lastPod, lastService } = clusterAddresses;
    const all = [
      control(1),
      control(9),
      node(1),
      node(maximumNodes),
      gateway(maximumNodes),
      pod(1, 2),
      pod(maximumNodes, lastPod),
      service(10),
      service(lastService),
    ];
    expect(new Set(all.flatMap(({ v4, v6 }) => [v4, v6])).size).toBe(all.length * 2);
    expect(pod(250, 254)).toEqual({ v4: "10.244.250.254", v6: "fd00:10:244:fa::fe" });
    expect(service(lastService)).toEqual({ v4: "10.96.255.254", v6: "fd00:10:96::fffe" });
  });
});
