/** Peers that stop: connections that never say anything, and a way to a peer that goes dead without a FIN. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { onTestFinished } from "vitest";
import type { SocketAddress } from "../../../src/model/address.ts";
import { watchErrors } from "./apps.ts";
import { freshAddress, ports } from "./loopback.ts";

/** Connections in number that are up. */
export async function connections(to: SocketAddress, count: number): Promise<Socket[]> {
  const all = await Promise.all(
    Array.from({ length: count }, async () => {
      const socket = watchErrors(connect({ host: to.address, port: to.port }));
      await new Promise((resolve) => {
        socket.once("connect", resolve);
        socket.once("close", resolve);
      });
      return socket;
    }),
  );
  onTestFinished(() => {
    for (const socket of all) socket.destroy();
  });
  return all;
}

export interface Path extends SocketAddress {
  /** From now on nothing moves and nothing is closed, in both directions: what a machine that lost its power looks like. */
  vanish(): void;
  readonly accepted: Socket[];
}

/** A way to `target` that can vanish. */
export async function startPath(target: SocketAddress): Promise<Path> {
  const accepted: Socket[] = [];
  const all: Socket[] = [];
  const path = createServer({ allowHalfOpen: true }, (near) => {
    const far = connect({ host: target.address, port: target.port, allowHalfOpen: true });
    accepted.push(near);
    for (const socket of [near, far]) all.push(watchErrors(socket));
    near.pipe(far).pipe(near);
  });
  const address = freshAddress();
  path.listen(ports.hbone, address);
  await once(path, "listening");
  onTestFinished(() => {
    for (const socket of all) socket.destroy();
    path.close();
  });
  return {
    address,
    port: ports.hbone,
    accepted,
    vanish: () => {
      for (const socket of all) socket.unpipe().pause();
    },
  };
}
