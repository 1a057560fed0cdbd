/** An agent that Istio's CNI agent drives: it is handed pods whose traffic others redirect, and serves them like its own. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Segment, tcpSegments } from "../../src/lab/demo/packets.ts";
import { Lab } from "../../src/lab/lab.ts";
import { added, ScriptedCniAgent, snapshotSent } from "../support/zds.ts";
import { client, documents, HeldConnection, namespaces, server } from "./support/cast.ts";

const node = "node-1";
const eventually = { timeout: 60_000, interval: 20 };

/** What Istio's CNI agent does to a pod's netns, in nftables' words. */
const redirection = `
table inet istio {
  chain prerouting_mangle { type filter hook prerouting priority mangle; meta mark & 0xfff == 0x539 ct mark set 0x111; }
  chain output_mangle { type route hook output priority mangle; ct mark & 0xfff == 0x111 meta mark set 0x111; }
  chain prerouting_nat {
    type nat hook prerouting priority dstnat;
    ip daddr != 127.0.0.1 tcp dport != 15008 meta mark & 0xfff != 0x539 redirect to :15006
    ip6 daddr != ::1 tcp dport != 15008 meta mark & 0xfff != 0x539 redirect to :15006
  }
  chain output_nat {
    type nat hook output priority -100;
    ct mark & 0xfff == 0x111 accept
    oifname lo ip daddr != 127.0.0.1 accept
    oifname lo ip6 daddr != ::1 accept
    ip daddr != 127.0.0.1 meta l4proto tcp meta mark & 0xfff != 0x539 redirect to :15001
    ip6 daddr != ::1 meta l4proto tcp meta mark & 0xfff != 0x539 redirect to :15001
  }
}`;

describe("an agent that is handed its pods", () => {
  const folder = mkdtempSync(join(tmpdir(), "warren-zds-"));
  const socket = join(folder, "zds.sock");
  let cniAgent: ScriptedCniAgent;
  let lab: Lab;

  beforeAll(async () => {
    cniAgent = await ScriptedCniAgent.listen(socket);
    const manifests = [documents(namespaces, server(node), client("one", node), client("two", node))];
    const agentSettings = { zds: { socket } };
    lab = await Lab.up({ nodes: 1, cni: false, agentSettings, manifests }, AbortSignal.timeout(90_000));
    await cniAgent.accept();
  });
  afterAll(async () => {
    await lab?.down();
    await cniAgent?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const uid = (name: string) => lab.store.get("Pod", "production", name)?.metadata.uid ?? "";
  const netns = (name: string) => `/proc/${lab.placeInPod(name).place.holder.pid}/ns/net`;
  const rows = async () =>
    ((await lab.adminJson(node, "/config_dump")) as { pods: { name: string; state: string; backend: string }[] }).pods;

  async function redirect(name: string): Promise<void> {
    for (const [argv, stdin] of [
      [["nft", "-f", "-"], redirection],
      [["ip", "rule", "add", "fwmark", "0x111/0xfff", "pref", "32764", "lookup", "100"], ""],
      [["ip", "route", "add", "local", "0.0.0.0/0", "dev", "lo", "table", "100"], ""],
      [["ip", "-6", "rule", "add", "fwmark", "0x111/0xfff", "pref", "32764", "lookup", "100"], ""],
      [["ip", "-6", "route", "add", "local", "::/0", "dev", "lo", "table", "100"], ""],
    ] as const) {
      expect(await lab.exec(name, argv, { stdin })).toMatchObject({ code: 0, stderr: "" });
    }
  }

  it("serves each as soon as it has its netns, and is ready when it knows them all", async () => {
    for (const name of ["server", "one"]) {
      await expect.poll(() => lab.store.get("Pod", "production", name)?.status?.phase, eventually).toBe("Running");
      await redirect(name);
      expect(await cniAgent.ask(added(uid(name), name), netns(name))).toBe("");
    }
    expect(await rows()).toMatchObject([
      { name: "server", state: "captured", backend: "external" },
      { name: "one", state: "captured", backend: "external" },
    ]);
    expect(await cniAgent.ask(snapshotSent)).toBe("");
    await lab.waitReady();
  });

  it("carries their traffic through the tunnel, with the client's address kept", async () => {
    const witness = await lab.capturePackets({ where: "node", node, interface: "cni0" });
    const connection = await HeldConnection.open(lab, "one", lab.pod("server").ips[0] ?? "");
    const word = await connection.echo();
    const packets = await witness.stop();
    expect(packets.complete).toBe(true);
    const segments: Segment[] = tcpSegments(packets.bytes);
    expect(segments.filter(({ payload }) => payload.includes(word))).toEqual([]);
    expect(segments.filter(({ destinationPort }) => destinationPort === 15_008)).not.toEqual([]);
    const [address = ""] = lab.pod("one").ips;
    const sockets = await lab.exec("server", ["ss", "-Htn", "state", "established", "sport = :9000"]);
    expect(sockets.stdout).toContain(address);
    await connection.close();
  });

  it("refuses a netns that is not the pod's", async () => {
    expect(await cniAgent.ask(added(uid("two"), "two"), netns("server"))).toMatch(/holds none of/);
    expect(await cniAgent.ask({ case: "del", value: { uid: uid("two") } })).toBe("");
    await expect.poll(async () => (await rows()).length, eventually).toBe(2);
  });

  it("goes on with its pods when the connection is made anew, and lets go of those that are not named again", async () => {
    const connection = await HeldConnection.open(lab, "one", lab.pod("server").ips[0] ?? "");
    cniAgent.hangUp();
    await cniAgent.accept();
    await connection.echo();
    expect(await cniAgent.ask({ case: "keep", value: { uid: uid("server") } })).toBe("");
    expect(await cniAgent.ask(added(uid("one"), "one"), netns("one"))).toBe("");
    expect(await cniAgent.ask(snapshotSent)).toBe("");
    await connection.echo();
    await connection.close();
    expect(await cniAgent.ask({ case: "del", value: { uid: uid("one") } })).toBe("");
    await expect.poll(async () => (await rows()).map(({ name }) => name), eventually).toEqual(["server"]);
  });

  it("ends a connection that breaks the protocol, and keeps its pods", async () => {
    expect(await cniAgent.ask(snapshotSent)).toMatch(/second snapshot/);
    await cniAgent.gone();
    await cniAgent.accept();
    expect(await cniAgent.ask(added(uid("server"), "server"))).toMatch(/0 descriptors, not 1/);
    await cniAgent.gone();
    await cniAgent.accept();
    expect(await cniAgent.askRaw(Buffer.from("ffff", "hex"), netns("server"))).toMatch(/cannot be read/);
    await cniAgent.gone();
    await cniAgent.accept();
    expect(await cniAgent.ask({ case: "keep", value: { uid: uid("server") } })).toBe("");
    expect(await cniAgent.ask(snapshotSent)).toBe("");
    expect((await rows()).map(({ name }) => name)).toEqual(["server"]);
  });
});
