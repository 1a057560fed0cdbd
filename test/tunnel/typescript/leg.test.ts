import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import { errorName, SocketLeg } from "../../../src/tunnel/typescript/leg.ts";

/** Two ends of one connection, both half-open. */
async function connection(): Promise<[Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const accepted = once(server, "connection") as Promise<[Socket]>;
  const one = connect({ port: (server.address() as AddressInfo).port, host: "127.0.0.1", allowHalfOpen: true });
  const [[other]] = await Promise.all([accepted, once(one, "connect")]);
  onTestFinished(() => {
    one.destroy();
    other.destroy();
    server.close();
  });
  return [one, other];
}

async function endOf(socket: Socket): Promise<string> {
  let code = "";
  socket.on("error", (error: NodeJS.ErrnoException) => {
    code = error.code ?? error.message;
  });
  socket.resume();
  await new Promise((resolve) => socket.once("close", resolve));
  return code;
}

describe("a socket's reset", () => {
  it.each([
    ["while it is open", (_socket: Socket) => {}],
    ["with bytes still to write", (socket: Socket) => void socket.write(Buffer.alloc(16 * 2 ** 20))],
    [
      "with bytes still to write and an end behind them",
      (socket: Socket) => void socket.end(Buffer.alloc(16 * 2 ** 20)),
    ],
  ])("reaches the other side %s", async (_title, before) => {
    const [one, other] = await connection();
    const leg = new SocketLeg(one);
    before(one);
    leg.reset();
    leg.reset();
    expect(await endOf(other)).toBe("ECONNRESET");
    await expect.poll(() => leg.closed, { interval: 5 }).toBe(true);
    expect(leg.closedCleanly()).toBe(false);
  });

  it("closes the descriptor in the turn in which its writing side was ended", async () => {
    // libuv answers EINVAL to a reset between shutdown(2) being asked for and done, and would leave the socket open.
    const [one] = await connection();
    const leg = new SocketLeg(one);
    one.end();
    leg.reset();
    await expect.poll(() => leg.closed, { interval: 5 }).toBe(true);
    expect(leg.detail()).toBe("");
  });

  it("after a finished end still reaches the other side", async () => {
    const [one, other] = await connection();
    const leg = new SocketLeg(one);
    one.end();
    await once(one, "finish");
    leg.reset();
    // The end came first: what the other side writes now is answered by the reset.
    other.resume();
    await once(other, "end");
    const code = endOf(other);
    const timer = setInterval(() => other.write("anybody there?"), 5);
    onTestFinished(() => clearInterval(timer));
    expect(["ECONNRESET", "EPIPE"]).toContain(await code);
  });
});

describe("a socket's end", () => {
  it("is clean when both directions ended", async () => {
    const [one, other] = await connection();
    const leg = new SocketLeg(one);
    one.end("x");
    one.resume();
    other.end("y");
    other.resume();
    await once(one, "close");
    expect(leg.closedCleanly()).toBe(true);
    expect(leg.detail()).toBe("");
  });

  it("is not clean when the other side broke, and says how", async () => {
    const [one, other] = await connection();
    const leg = new SocketLeg(one);
    one.resume();
    other.resetAndDestroy();
    await new Promise((resolve) => one.once("close", resolve));
    expect(leg.closedCleanly()).toBe(false);
    expect(leg.detail()).toBe("ECONNRESET");
  });
});

describe("an HTTP/2 error code", () => {
  it.each([
    [0, "NO_ERROR"],
    [7, "REFUSED_STREAM"],
    [8, "CANCEL"],
    [10, "CONNECT_ERROR"],
    [11, "ENHANCE_YOUR_CALM"],
    [99, "99"],
  ])("%i is called %s", (code, name) => {
    expect(errorName(code)).toBe(name);
  });
});
