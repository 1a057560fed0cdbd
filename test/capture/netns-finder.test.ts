import { closeSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadCaptureAddon } from "../../src/capture/addon.ts";
import { type FoundNetns, isCgroupOfPod, NetnsFinder } from "../../src/capture/netns-finder.ts";
import { Machine, type Pod } from "./support/machine.ts";

const uid = "8a6f2b1c-0d3e-4f5a-9b7c-1d2e3f4a5b6c";
const underscored = uid.replaceAll("-", "_");

describe("the cgroup of a process", () => {
  it.each([
    ["cgroupfs driver", `0::/kubepods/burstable/pod${uid}/0123abcd`, true],
    [
      "systemd driver",
      `0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${underscored}.slice/cri-0.scope`,
      true,
    ],
    ["cgroup v1 lines", `12:cpu:/kubepods/pod${uid}/x\n0::/`, true],
    ["the pod's own cgroup", `0::/kubepods/pod${uid}`, true],
    ["another pod", `0::/kubepods/pod${uid.replace("8", "9")}/x`, false],
    ["a uid that only begins alike", `0::/kubepods/pod${uid}0/x`, false],
    ["a name that only ends alike", `0::/kubepods/xpod${uid}/x`, false],
    ["no pod", "0::/system.slice/kubelet.service", false],
    ["nothing", "", false],
  ])("names its pod: %s", (_, text, expected) => {
    expect(isCgroupOfPod(text, uid)).toBe(expected);
  });

  it("does not take a uid for a pattern", () => {
    expect(isCgroupOfPod("0::/kubepods/podabc/x", "a.c")).toBe(false);
    expect(isCgroupOfPod("0::/kubepods/poda.c/x", "a.c")).toBe(true);
  });
});

describe("finding a pod's netns through /proc", () => {
  const addon = loadCaptureAddon();
  const options = { procRoot: "/proc", namedRoot: "/nowhere" };
  const finder = new NetnsFinder({ addon, cri: undefined }, options);
  let machine: Machine;
  let a: Pod;
  let b: Pod;

  beforeAll(async () => {
    machine = await Machine.start();
    a = await machine.addPod("a");
    b = await machine.addPod("b");
    await machine.start(a, "park");
    await machine.start(b, "park");
  });
  afterAll(() => Machine.stopAll([machine]));

  it("holds the netns that the pod's process is in", async () => {
    const found = await finder.find(a);
    const named = addon.netnsOpen(a.netnsPath);
    expect(found.netns.ino).toBe(named.ino);
    expect(addon.netnsOpen(found.path).ino).toBe(named.ino);
    found.close();
  });

  it("prefers the oldest process when a later one of the pod sits in another pod's netns", async () => {
    const visitor = await machine.start({ netnsPath: b.netnsPath, cgroup: a.cgroup }, "park");
    const found = await finder.find(a);
    expect(found.netns.ino).toBe(addon.netnsOpen(a.netnsPath).ino);
    found.close();
    await visitor.stop();
  });

  it("does not believe an older process whose netns lacks the pod's address", async () => {
    const c = await machine.addPod("c");
    await machine.start({ netnsPath: b.netnsPath, cgroup: c.cgroup }, "park");
    await expect(finder.find(c)).rejects.toMatchObject({
      code: "MESH_NETNS_NOT_FOUND",
      message: expect.stringContaining(c.ip4),
    });
    await machine.start(c, "park");
    const found = await finder.find(c);
    expect(found.netns.ino).toBe(addon.netnsOpen(c.netnsPath).ino);
    found.close();
  });

  it("never answers with the netns of this process or of init", async () => {
    const d = await machine.addPod("d");
    await machine.start({ netnsPath: "/proc/self/ns/net", cgroup: d.cgroup }, "park");
    await expect(finder.find({ uid: d.uid, addresses: ["127.0.0.1"] })).rejects.toMatchObject({
      code: "MESH_NETNS_NOT_FOUND",
    });
  });

  it("says when there is no process", async () => {
    await expect(finder.find({ uid: "no-such-pod", addresses: ["10.0.0.1"] })).rejects.toMatchObject({
      code: "MESH_NETNS_NOT_FOUND",
      message: expect.stringMatching(/no netns of pod no-such-pod: no process of it/),
    });
  });

  describe("told where it is", () => {
    const inode = (path: string) => {
      const { fd, ino } = addon.netnsOpen(path);
      closeSync(fd);
      return ino;
    };
    const found = async (finding: Promise<FoundNetns>) => {
      const netns = await finding;
      netns.close();
      return { ino: netns.netns.ino, by: netns.by };
    };
    const asking = (answer: () => Promise<string | undefined>) => {
      const asked: string[] = [];
      const cri = {
        netnsPath: (asking: string) => {
          asked.push(asking);
          return answer();
        },
      };
      return { asked, finder: new NetnsFinder({ addon, cri }, options) };
    };

    it("believes the announcement first, without asking further", async () => {
      const { asked, finder: told } = asking(async () => b.netnsPath);
      expect(await found(told.find({ ...a, announced: a.netnsPath }))).toEqual({
        ino: inode(a.netnsPath),
        by: "announcement",
      });
      expect(asked).toEqual([]);
    });

    it("asks the runtime where there is none, by the pod's uid", async () => {
      const { asked, finder: told } = asking(async () => a.netnsPath);
      expect(await found(told.find(a))).toEqual({ ino: inode(a.netnsPath), by: "cri" });
      expect(asked).toEqual([a.uid]);
    });

    it.each<[string, () => Promise<string | undefined>]>([
      ["knows nothing", async () => undefined],
      ["does not answer", () => Promise.reject(new Error("no runtime"))],
      ["names another pod's netns", async () => b.netnsPath],
      ["names the node's own", async () => "/proc/self/ns/net"],
      ["names something else", async () => "/dev/null"],
    ])("goes on to the pod's processes when the runtime %s", async (_, answer) => {
      const { finder: told } = asking(answer);
      expect(await found(told.find({ ...a, announced: "/run/netns/that-is-gone" }))).toEqual({
        ino: inode(a.netnsPath),
        by: "proc",
      });
    });

    it("never takes the node's own netns, whoever names it and whatever it holds", async () => {
      const { finder: told } = asking(async () => `/proc/${process.pid}/ns/net`);
      const question = { uid: "none", addresses: ["127.0.0.1"], announced: "/proc/self/ns/net" };
      await expect(told.find(question)).rejects.toMatchObject({
        message: expect.stringMatching(
          /self\/ns\/net is the node's own netns; .*\d\/ns\/net is the node's own netns/,
        ) as string,
      });
    });

    it("looks through the named ones for a pod without a process", async () => {
      const named = new NetnsFinder({ addon, cri: undefined }, { ...options, namedRoot: "/run/netns" });
      const e = await machine.addPod("e");
      expect(await found(named.find(e))).toEqual({ ino: inode(e.netnsPath), by: "named" });
      // The address alone is no proof: here it is in two, and there it is where another pod's process runs.
      const f = await machine.addPod("f");
      await machine.ip(f.netns, [`address add ${e.ip4}/32 dev lo`]);
      await expect(named.find({ uid: e.uid, addresses: [e.ip4] })).rejects.toMatchObject({
        message: expect.stringMatching(/2 in \/run\/netns hold its address/) as string,
      });
      const other = { ...f, cgroup: join(machine.podsCgroup, "pod0123456789ab") };
      mkdirSync(other.cgroup, { recursive: true });
      await machine.start(other, "park");
      expect(await found(named.find({ uid: e.uid, addresses: [e.ip4] }))).toEqual({
        ino: inode(e.netnsPath),
        by: "named",
      });
    });

    it("says whether it is still there", async () => {
      const g = await machine.addPod("g");
      const held = await finder.find({ ...g, announced: g.netnsPath });
      held.close();
      expect(await held.stillThere()).toBe(true);
      await machine.removePod(g);
      expect(await held.stillThere()).toBe(false);
    });
  });
});
