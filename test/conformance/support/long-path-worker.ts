/**
 * A long path, in a thread of its own so that the test's work does not slow it: what comes in leaves 50 ms later, in both directions, and at
 * most so many bytes may be on their way in a round trip. A sender therefore gets no more than that credit per 100 ms through it, tunnel or
 * not: what a TCP connection's window is to a path.
 */

import type { AddressInfo } from "node:net";
import { connect, createServer, type Socket } from "node:net";
import { parentPort, workerData } from "node:worker_threads";
import type { SocketAddress } from "../../../src/model/address.ts";

export interface LongPathWork {
  readonly listen: SocketAddress;
  readonly target: SocketAddress;
  readonly delayMs: number;
  /** Bytes on their way in one direction: sent, and not yet known to have arrived. */
  readonly credit: number;
}

const { listen, target, delayMs, credit } = workerData as LongPathWork;

function forward(from: Socket, to: Socket): void {
  let onTheWay = 0;
  from.on("data", (chunk: Buffer) => {
    onTheWay += chunk.length;
    if (onTheWay >= credit) from.pause();
    setTimeout(() => {
      if (!to.destroyed) to.write(chunk);
      // The sender hears of it half a round trip later.
      setTimeout(() => {
        onTheWay -= chunk.length;
        if (onTheWay < credit) from.resume();
      }, delayMs);
    }, delayMs);
  });
  from.on("end", () => setTimeout(() => to.end(), delayMs));
  from.on("error", () => to.destroy());
  from.on("close", () => setTimeout(() => to.destroySoon(), delayMs));
}

const server = createServer({ allowHalfOpen: true, noDelay: true, highWaterMark: 256 * 1024 }, (near) => {
  const far = connect({ ...target, host: target.address, allowHalfOpen: true, noDelay: true });
  forward(near, far);
  forward(far, near);
});
server.listen(listen.port, listen.address, () => {
  const { port } = server.address() as AddressInfo;
  parentPort?.postMessage({ address: listen.address, port }, []);
});
