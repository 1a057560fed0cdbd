/** Flows through two engines: bytes, ends, resets, and what the closing records say. */
import { describe, expect, it } from "vitest";
import { dialApp, echo, ping, startApp } from "./support/apps.ts";
import { enginePairs } from "./support/engines.ts";
import { startMesh } from "./support/mesh-under-test.ts";

describe.each(enginePairs)("a flow carried from $name", (kinds) => {
  it("reaches the application over mutual TLS 1.3 and comes back", async () => {
    const app = await startApp(echo);
    const { client, server, caller, callee } = await startMesh(kinds, { app });
    const socket = await dialApp(caller.outbound);
    expect(await ping(socket, "hello")).toBe("hello");
    socket.end();
    const sent = await client.closing();
    const received = await server.closing();
    expect(sent).toMatchObject({
      role: "outbound",
      reason: "ok",
      bytesSent: 5,
      bytesReceived: 5,
      peer: callee.identity,
    });
    expect(received).toMatchObject({
      role: "inbound-hbone",
      reason: "ok",
      bytesSent: 5,
      bytesReceived: 5,
      peer: caller.identity,
    });
  });
});
