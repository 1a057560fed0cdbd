import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { NetworkPlugins, type SandboxFacts } from "../../../src/lab/kubelet/network-plugins.ts";
import type { RunOptions } from "../../../src/lab/machine/launch.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

const sandbox: SandboxFacts = {
  container: "c1",
  netns: "/proc/7/ns/net",
  pod: { uid: "uid-a", name: "a", namespace: "shop" },
  addresses: { v4: "10.244.1.2", v6: "fd00::2" },
};
const never = new AbortController().signal;

let folder: string;
let runs: { argv: readonly string[]; options: RunOptions }[];
let answer: { code: number; stdout: string; stderr: string };
let plugins: NetworkPlugins;
beforeEach(async () => {
  folder = await temporaryFolder();
  runs = [];
  answer = { code: 0, stdout: '{"of": "the plugin"}', stderr: "" };
  plugins = new NetworkPlugins(
    {
      run: async (argv, options) => {
        runs.push({ argv, options });
        return answer;
      },
    },
    { binDir: join(folder, "bin"), confDir: join(folder, "net.d") },
  );
});

function chain(name: string, ...types: readonly string[]): void {
  const path = join(folder, "net.d", name);
  const list = types.map((type) => ({ type, setting: 1 }));
  writeFileSync(path, JSON.stringify({ cniVersion: "1.1.0", name: "lab", plugins: list }));
  chmodSync(path, 0o644);
}

describe("a lab node's network plugins", () => {
  it("are the lab's own alone, which runs nothing, until somebody adds one", async () => {
    await plugins.add(sandbox, never);
    await plugins.delete(sandbox);
    expect(runs).toEqual([]);
    expect(JSON.parse(readFileSync(join(folder, "net.d", "10-lab.conflist"), "utf8"))).toMatchObject({
      plugins: [{ type: "lab-bridge" }],
    });
  });

  it("are those of the first configuration, each with the result of the one before, and in reverse to delete", async () => {
    chain("00-first.conflist", "lab-bridge", "one", "two");
    chain(".00-draft.conflist", "none");
    await plugins.add(sandbox, never);
    expect(runs.map(({ argv }) => argv)).toEqual([[join(folder, "bin", "one")], [join(folder, "bin", "two")]]);
    const inputs = runs.map(({ options }) => JSON.parse(String(options.stdin)) as object);
    expect(inputs).toMatchObject([
      {
        type: "one",
        setting: 1,
        name: "lab",
        cniVersion: "1.1.0",
        prevResult: { ips: [{ address: "10.244.1.2/32" }, { address: "fd00::2/128" }] },
      },
      { type: "two", prevResult: { of: "the plugin" } },
    ]);
    expect(runs[0]?.options.env).toMatchObject({
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: "c1",
      CNI_NETNS: "/proc/7/ns/net",
      CNI_IFNAME: "eth0",
      CNI_ARGS: expect.stringContaining("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=a;") as string,
    });
    runs.length = 0;
    answer = { ...answer, stdout: "" };
    await plugins.delete(sandbox);
    expect(runs.map(({ argv }) => argv[0]?.split("/").at(-1))).toEqual(["two", "one"]);
    expect(runs[0]?.options.env).toMatchObject({ CNI_COMMAND: "DEL" });
  });

  it.each([
    ['{"code": 11, "msg": "warren-cni: away", "details": "look there"}', "warren-cni: away; look there"],
    ['{"code": 11, "msg": "warren-cni: away"}', "warren-cni: away"],
    ["Segmentation fault", "it ended with code 1: Segmentation fault"],
  ])("fail with the plugin's own words: %s", async (stdout, words) => {
    chain("00-first.conflist", "lab-bridge", "warren-cni");
    answer = { code: 1, stdout, stderr: "" };
    await expect(plugins.add(sandbox, never)).rejects.toMatchObject({
      code: "MESH_LAB_NETWORK_PLUGIN",
      message: `plugin type="warren-cni" failed (add): ${words}`,
    });
  });
});
