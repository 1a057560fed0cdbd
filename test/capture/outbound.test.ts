import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { backends, families, Harness } from "./support/harness.ts";
import type { Pod } from "./support/machine.ts";

describe.each(backends)("outbound capture by %s", (backend) => {
  let node: Harness;
  let client: Pod;
  /** Not enrolled: what it sees is what left the client's pod. */
  let server: Pod;

  beforeAll(async () => {
    node = await Harness.start(backend);
    client = await node.enrolled("client");
    server = await node.machine.addPod("server");
    for (const { any, family } of families) {
      await node.machine.start(server, "serve", any, `${8000 + family}`, "--fastopen", "--name=server");
    }
  });
  afterAll(() => node?.stop());
  beforeEach(() => node.relay.flows.splice(0));

  const ways = [
    { way: "a blocking socket", flags: ["--blocking"] },
    { way: "a non-blocking socket", flags: [] },
    { way: "a socket bound to the pod's address", flags: ["--bind"] },
    { way: "MPTCP", flags: ["--mptcp"] },
    { way: "TCP fast open", flags: ["--fastopen"] },
    { way: "IPv4 on an IPv6 socket", flags: ["--mapped"], only: 4 },
  ];
  const cases = families.flatMap((family) =>
    ways.filter(({ only }) => only === undefined || only === family.family).map((way) => ({ ...family, ...way })),
  );

  it.each(cases)("takes IPv$family connections of $way", async ({ family, of, way, flags }) => {
    const port = 8000 + family;
    const bound = flags.map((flag) => (flag === "--bind" ? `--bind=${of(client)}` : flag));
    const answer = await node.machine.run(client, "connect", of(server), `${port}`, ...bound);
    expect(answer).toMatchObject({ ok: true, echo: "ping" });
    expect(answer.greeting).toMatch(`server sees ${of(client)}|`);
    expect(answer.local).toMatch(`${of(client)}|`);
    expect(node.relay.flows).toEqual([
      { role: "outbound", source: of(client), destination: { address: of(server), port } },
    ]);
    // The getpeername hook does not reach MPTCP sockets: the application sees the agent's listener there.
    const blind = backend === "ebpf" && way === "MPTCP";
    expect(answer.peer).toBe(blind ? `${of(client)}|15001` : `${of(server)}|${port}`);
  });

  it.each(families)("leaves IPv$family connections of the pod to itself alone", async ({ of, any, loopback }) => {
    await node.machine.start(client, "serve", any, "9000", "--name=own");
    for (const address of [of(client), loopback]) {
      expect(await node.machine.run(client, "connect", address, "9000")).toMatchObject({
        ok: true,
        greeting: expect.stringMatching(/^own sees/),
      });
    }
    expect(node.relay.flows).toEqual([]);
  });

  it.each(families)("leaves un-enrolled IPv$family pods alone", async ({ family, of }) => {
    const stranger = await node.machine.addPod(`stranger${family}`);
    expect(await node.machine.run(stranger, "connect", of(server), `${8000 + family}`)).toMatchObject({ ok: true });
    expect(node.relay.flows).toEqual([]);
  });

  it("keeps the destination of a client that closes before the agent accepts", async () => {
    const hasty = await node.machine.addPod("hasty");
    const request = { uid: hasty.uid, netnsPath: hasty.netnsPath, addresses: hasty.addresses, failOpen: false };
    const captured = await node.capture.enrol(request, AbortSignal.timeout(30_000));
    expect(await node.machine.run(hasty, "fire", server.ip4, "8004")).toMatchObject({ ok: true });
    node.relay.add(captured);
    await expect
      .poll(() => node.relay.flows)
      .toEqual([{ role: "outbound", source: hasty.ip4, destination: { address: server.ip4, port: 8004 } }]);
  });

  it("closes connections to its own port that nothing redirected", async () => {
    for (const { of } of families) {
      expect(await node.machine.run(client, "connect", of(client), "15001")).toMatchObject({
        ok: false,
        error: "ECONNRESET",
      });
    }
    expect(node.relay.flows.map(({ destination }) => destination)).toEqual([undefined, undefined]);
  });

  it.each(families)("forgets an IPv$family socket's destination when it connects anew", async ({ family, of, any }) => {
    await node.machine.start(client, "serve", any, "9001", "--name=own");
    const first = [of(server), `${8000 + family}`];
    expect(await node.machine.run(client, "reconnect", ...first, of(client), "9001")).toMatchObject({
      peer: `${of(client)}|9001`,
      greeting: expect.stringMatching(/^own sees/),
    });
    expect(node.relay.flows.map(({ destination }) => destination?.port)).toEqual([8000 + family]);
  });

  it("refuses a family of which the pod has no address", async () => {
    const single = await node.machine.addPod("single");
    await node.agent.enrol(single, { addresses: [single.ip4] });
    const answer = await node.machine.run(single, "connect", server.ip6, "8006");
    expect(answer).toMatchObject({ ok: false, error: "ECONNREFUSED" });
    expect(await node.machine.run(single, "connect", server.ip4, "8004")).toMatchObject({ ok: true });
  });
});
