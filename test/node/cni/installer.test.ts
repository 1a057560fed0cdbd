import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { chained, ownConflistName, primaryConflist } from "../../../src/node/cni/conflist.ts";
import { CniInstaller } from "../../../src/node/cni/installer.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";
import { FakeClock } from "../fakes.ts";
import { pluginProgram } from "./support.ts";

const settings = {
  socket: "/run/warren/cni.sock",
  timeoutMs: 20_000,
  failOpen: false,
  excludeNamespaces: ["kube-system"],
};
const kindnet = {
  cniVersion: "0.3.1",
  name: "kindnet",
  plugins: [
    { type: "ptp", ipam: { type: "host-local" } },
    { type: "portmap", capabilities: { portMappings: true } },
  ],
};
const ours = { type: "warren-cni", ...settings };

describe("the configuration in force without ours", () => {
  it.each([
    [["10-kindnet.conflist", "05-cilium.conflist", "README"], "05-cilium.conflist"],
    [["99-loopback.conf", "87-podman.conflist"], "87-podman.conflist"],
    [[ownConflistName, "10-flannel.conflist"], "10-flannel.conflist"],
    [["10-bridge.json", ".05-draft.conflist", "00-x.conflist.tmp", "01-off.conflist.cilium_bak"], "10-bridge.json"],
    [[ownConflistName], undefined],
    [[], undefined],
  ])("of %j is %s", (names, expected) => {
    expect(primaryConflist(names)).toBe(expected);
  });
});

describe("our configuration", () => {
  it("is the primary's with the plugin at its end, under the primary's name", () => {
    expect(JSON.parse(chained("10-kindnet.conflist", JSON.stringify(kindnet), settings))).toEqual({
      ...kindnet,
      plugins: [...kindnet.plugins, ours],
    });
  });

  it("makes a list of a single plugin's configuration", () => {
    const single = { cniVersion: "0.3.1", name: "net", type: "bridge", bridge: "br0" };
    expect(JSON.parse(chained("10-bridge.conf", JSON.stringify(single), settings))).toEqual({
      cniVersion: "0.3.1",
      name: "net",
      plugins: [{ type: "bridge", bridge: "br0" }, ours],
    });
  });

  it("has the plugin once, also where somebody chained it before", () => {
    const twice = { ...kindnet, plugins: [{ type: "warren-cni", socket: "/old" }, ...kindnet.plugins] };
    const { plugins } = JSON.parse(chained("10-kindnet.conflist", JSON.stringify(twice), settings)) as typeof kindnet;
    expect(plugins.map(({ type }) => type)).toEqual(["ptp", "portmap", "warren-cni"]);
  });

  it.each([
    ["10-a.conflist", "{", /10-a.conflist is no JSON/],
    ["10-a.conflist", "[]", /is no JSON object/],
    ["10-a.conflist", '{"plugins":[{"type":"x"}]}', /names no network/],
    ["10-a.conflist", '{"name":"a"}', /lists no plugins/],
    ["10-a.conflist", '{"name":"a","plugins":[]}', /lists no plugins/],
    ["10-a.conf", '{"name":"a"}', /names no plugin/],
  ])("is not made of %s: %s", (name, text, expected) => {
    expect(() => chained(name, text, settings)).toThrow(expected);
  });
});

describe("the installer", () => {
  let folder: string;
  let binDir: string;
  let confDir: string;
  let clock: FakeClock;
  let told: string[];
  beforeEach(async () => {
    folder = await temporaryFolder();
    binDir = join(folder, "bin");
    confDir = join(folder, "net.d");
    mkdirSync(binDir);
    mkdirSync(confDir);
    clock = new FakeClock();
    told = [];
  });

  function installer(over: Partial<typeof settings> = {}): CniInstaller {
    const tell = (_fields: object, message: string) => void told.push(message);
    return new CniInstaller(
      { clock, log: { info: tell, warn: tell } },
      { program: pluginProgram, binDir, confDir, settings: { ...settings, ...over }, everyMs: 1000 },
    );
  }

  const write = (name: string, value: unknown) => writeFileSync(join(confDir, name), JSON.stringify(value));
  const own = () => join(confDir, ownConflistName);
  const types = () => (JSON.parse(readFileSync(own(), "utf8")) as typeof kindnet).plugins.map(({ type }) => type);
  /** Looks take real file system calls: time moves on until one has done its work. */
  const later = (holds: () => boolean) =>
    expect
      .poll(
        async () => {
          await clock.advance(1000);
          return holds();
        },
        { timeout: 30_000, interval: 5 },
      )
      .toBe(true);

  it("puts the program and our configuration in place, and takes only the latter away", async () => {
    write("10-kindnet.conflist", kindnet);
    const one = installer();
    await one.start();
    expect(readFileSync(join(binDir, "warren-cni")).equals(readFileSync(pluginProgram))).toBe(true);
    expect(statSync(join(binDir, "warren-cni")).mode & 0o777).toBe(0o755);
    expect(types()).toEqual(["ptp", "portmap", "warren-cni"]);
    expect(readdirSync(confDir).sort()[0]).toBe(ownConflistName);
    expect(JSON.parse(readFileSync(join(confDir, "10-kindnet.conflist"), "utf8"))).toEqual(kindnet);
    await one.uninstall();
    expect(readdirSync(confDir)).toEqual(["10-kindnet.conflist"]);
    expect(existsSync(join(binDir, "warren-cni"))).toBe(true);
  });

  it("leaves everything for the next agent when it stops, and that changes nothing that is right", async () => {
    write("10-kindnet.conflist", kindnet);
    const one = installer();
    await one.start();
    await one.stop();
    await one.stop();
    const before = [own(), join(binDir, "warren-cni")].map((path) => statSync(path).ino);
    const two = installer();
    await two.start();
    expect([own(), join(binDir, "warren-cni")].map((path) => statSync(path).ino)).toEqual(before);
    await two.stop();
    const three = installer({ failOpen: true });
    await three.start();
    expect(readFileSync(own(), "utf8")).toContain('"failOpen": true');
    await three.stop();
  });

  it("follows the primary configuration, and another one that comes before it", async () => {
    write("10-kindnet.conflist", kindnet);
    const one = installer();
    await one.start();
    write("10-kindnet.conflist", { ...kindnet, plugins: [{ type: "bridge" }] });
    await later(() => types().join() === "bridge,warren-cni");
    write("05-cilium.conflist", { ...kindnet, name: "cilium", plugins: [{ type: "cilium-cni" }] });
    await later(() => types().join() === "cilium-cni,warren-cni");
    await one.stop();
  });

  it("comes back when somebody removes or overwrites ours, and says so", async () => {
    write("10-kindnet.conflist", kindnet);
    const one = installer();
    await one.start();
    rmSync(own());
    await later(() => existsSync(own()));
    expect(told.join()).toMatch(/somebody removed our network configuration/);
    write(ownConflistName, kindnet);
    await later(() => types().at(-1) === "warren-cni");
    await one.stop();
  });

  it("waits for a node that has no network yet, and goes when its network goes", async () => {
    const one = installer();
    await one.start();
    expect(existsSync(own())).toBe(false);
    expect(told.at(-1)).toMatch(/holds no network configuration yet/);
    write("10-kindnet.conflist", kindnet);
    await later(() => existsSync(own()));
    rmSync(join(confDir, "10-kindnet.conflist"));
    await later(() => !existsSync(own()));
    await one.stop();
  });

  it("keeps the last good configuration while the primary is being written, and complains once", async () => {
    write("10-kindnet.conflist", kindnet);
    const one = installer();
    await one.start();
    writeFileSync(join(confDir, "10-kindnet.conflist"), '{"name": "kin');
    await later(() => told.some((line) => line.includes("is no JSON")));
    await clock.advance(5000);
    expect(told.filter((line) => line.includes("is no JSON"))).toHaveLength(1);
    expect(types()).toEqual(["ptp", "portmap", "warren-cni"]);
    write("10-kindnet.conflist", { ...kindnet, plugins: [{ type: "bridge" }] });
    await later(() => types().join() === "bridge,warren-cni");
    await one.stop();
  });

  it("replaces a program that runs", async () => {
    write("10-kindnet.conflist", kindnet);
    writeFileSync(join(binDir, "warren-cni"), "an older one", { mode: 0o755 });
    const one = installer();
    await one.start();
    expect(readFileSync(join(binDir, "warren-cni")).equals(readFileSync(pluginProgram))).toBe(true);
    await one.stop();
  });
});
