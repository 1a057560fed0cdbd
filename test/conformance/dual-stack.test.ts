/** IPv6 on every leg: captured connection, tunnel, authority and delivery. One test file, because ::1 is one address. */
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import { dialApp, echo, ping, watchErrors } from "./support/apps.ts";
import { enginePairs } from "./support/engines.ts";
import { identity, MeshPki } from "./support/mesh-pki.ts";
import { carryTo, deliverTo } from "./support/mesh-under-test.ts";
import { NodeUnderTest } from "./support/node-under-test.ts";

describe.each(enginePairs)("IPv6 from $name", (kinds) => {
  it("is carried like IPv4", async () => {
    const server = createServer((socket) => echo(watchErrors(socket)));
    server.listen(0, "::1");
    await once(server, "listening");
    onTestFinished(() => {
      server.close();
    });
    const app = { address: "::1", port: (server.address() as AddressInfo).port };
    const pki = await MeshPki.create();
    const near = new NodeUnderTest(kinds.client);
    const far = new NodeUnderTest(kinds.server);
    const [callerSpec, calleeSpec] = [
      await pki.credential(identity("caller")),
      await pki.credential(identity("callee")),
    ];
    const callee = await far.addPod(far.addCredential(calleeSpec), calleeSpec.identity, {
      address: "::1",
      roles: ["hbone"],
    });
    const caller = await near.addPod(near.addCredential(callerSpec), callerSpec.identity, {
      address: "::1",
      roles: ["outbound"],
      destination: app,
    });
    near.decideFlow = () => {
      const carry = carryTo(near, caller, callee, app.port);
      return { ...carry, targets: carry.targets.map((target) => ({ ...target, authority: `[::1]:${app.port}` })) };
    };
    far.decideConnect = (event) => deliverTo(callee, app, event);
    const socket = await dialApp(caller.outbound);
    const port = socket.localPort;
    expect(await ping(socket)).toBe("ping");
    expect(near.arrived).toMatchObject([{ source: { address: "::1", port }, destination: app }]);
    expect(near.rows()).toMatchObject([{ target: callee.hbone }]);
    expect(far.connects).toMatchObject([{ authority: `[::1]:${app.port}`, forwarded: `for="[::1]:${port}"` }]);
    expect(far.rows()).toMatchObject([{ destination: app, target: app }]);
  });
});
