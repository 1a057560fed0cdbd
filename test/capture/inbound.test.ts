import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { backends, families, Harness } from "./support/harness.ts";
import type { Pod } from "./support/machine.ts";

const probePort = 8090;

describe.each(backends)("inbound capture by %s", (backend) => {
  let node: Harness;
  let server: Pod;
  let client: Pod;

  beforeAll(async () => {
    node = await Harness.start(backend);
    client = await node.machine.addPod("client");
    server = await node.enrolled("server", { probePorts: [probePort] });
    for (const { any, family } of families) {
      await node.machine.start(server, "serve", any, `${8000 + family}`, "--name=server");
      await node.machine.start(server, "serve", any, `${probePort}`, "--name=probed");
    }
  });
  afterAll(() => node?.stop());
  beforeEach(() => node.relay.flows.splice(0));

  it.each(families)(
    "takes IPv$family connections and delivers them from the client's address",
    async ({ family, of }) => {
      const port = 8000 + family;
      const answer = await node.machine.run(client, "connect", of(server), `${port}`);
      expect(answer).toMatchObject({ ok: true, echo: "ping", peer: `${of(server)}|${port}` });
      expect(answer.greeting).toMatch(`server sees ${of(client)}|`);
      expect(node.relay.flows).toEqual([
        { role: "inbound", source: of(client), destination: { address: of(server), port } },
      ]);
    },
  );

  it.each(families)("answers a delivery to a closed IPv$family port with a refusal at once", async ({ of }) => {
    const answer = await node.machine.run(client, "connect", of(server), "7");
    // A reset that is quicker than the client's thread is found by connect(2) itself.
    expect(answer).toMatchObject({ ok: false, step: expect.stringMatching(/^(connect|read)$/), error: "ECONNRESET" });
  });

  it.each(families)("brings IPv$family connections to the HBONE port to its listener", async ({ of }) => {
    expect(await node.machine.run(client, "connect", of(server), "15008")).toMatchObject({ error: "ECONNRESET" });
    expect(node.relay.flows.map(({ role }) => role)).toEqual(["hbone"]);
  });

  it.each(families)("lets no stranger speak for the pod on IPv$family port 15001", async ({ of }) => {
    const answer = await node.machine.run(client, "connect", of(server), "15001");
    expect(answer).toMatchObject({ ok: false });
    expect(node.relay.flows.filter(({ role }) => role === "outbound")).toEqual([]);
    expect(
      node.relay.flows.filter(({ destination }) => destination !== undefined && destination.port !== 15001),
    ).toEqual([]);
  });

  it.each(families)("lets the kubelet's IPv$family probes reach the application itself", async ({ of }) => {
    const answer = await node.machine.run(node.machine.kubelet, "connect", of(server), `${probePort}`);
    expect(answer).toMatchObject({ ok: true, echo: "ping", greeting: expect.stringMatching(/^probed sees/) });
    expect(node.relay.flows).toEqual([]);
  });

  it.each(families)("takes the kubelet's IPv$family connections to ports it does not probe", async ({ family, of }) => {
    const answer = await node.machine.run(node.machine.kubelet, "connect", of(server), `${8000 + family}`);
    expect(answer).toMatchObject({ ok: true });
    expect(node.relay.flows.map(({ role }) => role)).toEqual(["inbound"]);
  });

  it("takes connections that the node forwarded from its own port", async () => {
    await node.machine.nft(
      node.machine.netns,
      `table ip forwarding {
        chain prerouting { type nat hook prerouting priority -100;
          ip daddr 10.${node.machine.number}.0.1 tcp dport 18080 dnat to ${server.ip4}:8004
        }
        chain postrouting { type nat hook postrouting priority 100; ct status dnat masquerade
        }
      }`,
    );
    const answer = await node.machine.run(client, "connect", `10.${node.machine.number}.0.1`, "18080");
    expect(answer).toMatchObject({ ok: true, greeting: expect.stringMatching(/^server sees 10\.\d+\.0\.1\|/) });
    expect(node.relay.flows.map(({ role }) => role)).toEqual(["inbound"]);
  });

  it("captures every address of a pod that has several", async () => {
    const many = await node.machine.addPod("many");
    const second = many.ip4.replace(/\.0\.(\d+)$/, ".9.$1");
    await node.machine.ip(many.netns, [`address add ${second}/16 dev eth0`]);
    await node.agent.enrol(many, { addresses: [...many.addresses, second] });
    await node.machine.start(many, "serve", "0.0.0.0", "80", "--name=many");
    expect(await node.machine.run(client, "connect", second, "80")).toMatchObject({ ok: true });
    expect(node.relay.flows).toMatchObject([{ role: "inbound", destination: { address: second, port: 80 } }]);
    // From one of its own addresses to the other is still the pod talking to itself.
    await node.machine.run(many, "connect", second, "80", `--bind=${many.ip4}`);
    expect(node.relay.flows).toHaveLength(1);
  });

  if (backend === "nftables") {
    // What follows is what eBPF alone can do: see docs/capture.md.
    return;
  }

  it("takes other processes' connections from the node to probed ports", async () => {
    for (const { of } of families) {
      const answer = await node.machine.run(node.machine.host, "connect", of(server), `${probePort}`);
      expect(answer).toMatchObject({ ok: true });
    }
    expect(node.relay.flows.map(({ role }) => role)).toEqual(["inbound", "inbound"]);
  });

  it("tracks no connection and adds no rule, in the pod or on the node", async () => {
    const quiet = await node.enrolled("quiet");
    await node.machine.start(quiet, "serve", "0.0.0.0", "80");
    await node.machine.run(client, "connect", quiet.ip4, "80");
    expect(node.relay.flows).toHaveLength(1);
    expect(await node.machine.output(quiet, "nft", "list", "ruleset")).toBe("");
    const count = await node.machine.output(quiet, "sysctl", "-n", "net.netfilter.nf_conntrack_count");
    expect(Number(count)).toBe(0);
  });
});
