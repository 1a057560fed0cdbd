import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { KubeletExemption } from "../../src/node/kubelet-exemption.ts";
import { RecordedLog } from "../support/recorded-log.ts";

describe("the kubelet's exemption", () => {
  let folder: string;
  let found: string | undefined;
  const exempted: string[] = [];
  let exemption: KubeletExemption;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "warren-kubelet-"));
    found = undefined;
    exempted.length = 0;
    exemption = new KubeletExemption(
      { find: async () => found, exempt: async (cgroup) => void exempted.push(cgroup), log: new RecordedLog() },
      { every: 5 },
    );
  });
  afterEach(async () => {
    await exemption.stop();
    await rm(folder, { recursive: true });
  });

  it("comes when a kubelet does, once", async () => {
    await exemption.start();
    expect(exempted).toEqual([]);
    found = join(folder, "kubelet.service");
    await mkdir(found);
    await expect.poll(() => exempted).toEqual([found]);
  });

  it("is given again when a restarted kubelet has a new cgroup of the same name", async () => {
    found = join(folder, "kubelet.service");
    await mkdir(found);
    await exemption.start();
    expect(exempted).toEqual([found]);
    // The neighbour keeps the file system from giving the new folder the old one's inode.
    await mkdir(join(folder, "neighbour"));
    await rm(found, { recursive: true });
    await mkdir(join(folder, "another"));
    await mkdir(found);
    await expect.poll(() => exempted).toEqual([found, found]);
  });

  it("keeps the agent from starting when the cgroup that is named cannot be found", async () => {
    found = join(folder, "nowhere");
    await expect(exemption.start()).rejects.toThrow("ENOENT");
  });
});
