import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Agent, backends, families } from "./support/harness.ts";
import { link, Machine, type Pod } from "./support/machine.ts";

describe.each(backends)("two nodes with capture by %s", (backend) => {
  let machines: readonly [Machine, Machine];
  let agents: readonly [Agent, Agent];
  let client: Pod;
  let server: Pod;

  beforeAll(async () => {
    machines = [await Machine.start(), await Machine.start()];
    await link(...machines);
    agents = [await Agent.start(machines[0], backend), await Agent.start(machines[1], backend)];
    client = await machines[0].addPod("client");
    server = await machines[1].addPod("server");
    await agents[0].enrol(client);
    await agents[1].enrol(server);
    for (const { any } of families) {
      await machines[1].start(server, "serve", any, "80", "--name=server");
    }
    // What nodes commonly do to traffic they forward: only pods' packets pass, and what leaves the cluster is masqueraded.
    for (const { netns, number } of machines) {
      await machines[0].nft(
        netns,
        `table inet node {
          chain forward {
            type filter hook forward priority 0; policy drop;
            ct state established,related accept
            ip saddr 10.0.0.0/8 ip daddr 10.0.0.0/8 accept
            ip6 saddr fd00::/16 ip6 daddr fd00::/16 accept
          }
          chain postrouting {
            type nat hook postrouting priority 100; policy accept;
            ip saddr 10.${number}.0.0/16 ip daddr != 10.0.0.0/8 masquerade
          }
        }`,
      );
    }
  });
  afterAll(async () => {
    for (const agent of agents ?? []) {
      await agent.crash();
    }
    await Machine.stopAll(machines);
  });
  beforeEach(() => {
    for (const { relay } of agents) {
      relay.flows.splice(0);
    }
  });

  it.each(families)("carry an IPv$family connection from listener to listener, source address kept", async ({ of }) => {
    const answer = await machines[0].run(client, "connect", of(server), "80");
    expect(answer).toMatchObject({ ok: true, echo: "ping", peer: `${of(server)}|80` });
    expect(answer.greeting).toMatch(`server sees ${of(client)}|`);
    const flow = { source: of(client), destination: { address: of(server), port: 80 } };
    expect(agents[0].relay.flows).toEqual([{ role: "outbound", ...flow }]);
    expect(agents[1].relay.flows).toEqual([{ role: "inbound", ...flow }]);
  });

  it("keep their pods, pins and counters apart", async () => {
    await machines[0].run(client, "connect", server.ip4, "80");
    await agents[1].capture.release(server.uid);
    expect(await machines[0].run(client, "connect", server.ip4, "80")).toMatchObject({ ok: true });
    expect(agents[0].relay.flows).toHaveLength(2);
    expect(agents[1].relay.flows).toHaveLength(1);
    await agents[1].enrol(server);
    expect(await agents[0].capture.collectGarbage(new Set([client.uid]))).toEqual([]);
    expect(await machines[0].run(client, "connect", server.ip4, "80")).toMatchObject({ ok: true });
    expect(agents[1].relay.flows).toHaveLength(2);
  });

  it("a pod's own listener answers from the moment that it is released", async () => {
    for (let turn = 0; turn < 20; turn += 1) {
      await agents[1].capture.release(server.uid);
      expect(await machines[0].run(client, "connect", server.ip4, "80")).toMatchObject({ ok: true });
      expect(agents[1].relay.flows).toEqual([]);
      await agents[1].enrol(server);
    }
  });
});
