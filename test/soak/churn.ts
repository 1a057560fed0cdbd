/**
 * Traffic as it is where applications come and go: many short connections, some bulk, half-closes, resets in the middle, and a crowd that
 * only lies there. Drawn from a seed, so that a run can be had again.
 */
import { connect, type Socket } from "node:net";
import type { SocketAddress } from "../../src/model/address.ts";

const KiB = 1024;

/** Connections of each kind that ended as they should, and those that broke because something was taken away under them. */
export interface Tally {
  opened: number;
  whole: number;
  broken: number;
}

type Kind = "short" | "bulk" | "half-close" | "reset" | "idle";
const kinds: readonly (readonly [Kind, number])[] = [
  ["short", 55],
  ["bulk", 10],
  ["half-close", 15],
  ["reset", 10],
  ["idle", 10],
];

/** Park and Miller's minimal standard generator: 0 … 1. */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

function draw(random: () => number): Kind {
  let left = random() * 100;
  for (const [kind, share] of kinds) {
    left -= share;
    if (left < 0) return kind;
  }
  return "short";
}

/** Until `until` (performance.now()); idle connections are closed then. */
export async function churn(
  to: SocketAddress,
  options: { readonly until: number; readonly callers: number; readonly idle: number; readonly random: () => number },
): Promise<Tally> {
  const tally: Tally = { opened: 0, whole: 0, broken: 0 };
  const held: Socket[] = [];
  const caller = async () => {
    while (performance.now() < options.until) {
      const kind = draw(options.random);
      if (kind === "idle" && held.length >= options.idle) continue;
      const socket = connect({ host: to.address, port: to.port, allowHalfOpen: true });
      socket.on("error", () => {});
      tally.opened += 1;
      if (await lead(kind, socket)) tally.whole += 1;
      else tally.broken += 1;
      if (kind === "idle") held.push(socket);
      else socket.destroy();
    }
  };
  await Promise.all(Array.from({ length: options.callers }, caller));
  for (const socket of held) socket.destroy();
  return tally;
}

/** False if the connection broke before its kind of exchange was complete. */
async function lead(kind: Kind, socket: Socket): Promise<boolean> {
  switch (kind) {
    case "short":
    case "idle":
      socket.write(Buffer.alloc(KiB));
      return comesBack(socket, KiB);
    case "bulk":
      socket.write(Buffer.alloc(512 * KiB));
      return comesBack(socket, 512 * KiB);
    case "half-close":
      socket.end(Buffer.alloc(16 * KiB));
      return ends(socket, 16 * KiB);
    case "reset": {
      socket.write(Buffer.alloc(64 * KiB));
      const some = await comesBack(socket, KiB);
      socket.resetAndDestroy();
      return some;
    }
  }
}

function comesBack(socket: Socket, bytes: number): Promise<boolean> {
  return new Promise((resolve) => {
    let left = bytes;
    socket.on("data", (data: Buffer) => {
      left -= data.length;
      if (left <= 0) resolve(true);
    });
    socket.once("close", () => resolve(false));
    socket.once("end", () => resolve(false));
  });
}

function ends(socket: Socket, bytes: number): Promise<boolean> {
  return new Promise((resolve) => {
    let got = 0;
    socket.on("data", (data: Buffer) => {
      got += data.length;
    });
    socket.once("end", () => resolve(got === bytes));
    socket.once("close", () => resolve(false));
  });
}
