/**
 * A thread that connects, reads what the application says, and connects again, while the test's own thread changes decisions. The
 * application's answer is the generation of the decision that brought the connection there; a connection made after generation N
 * took effect must never get an older one.
 */
import { once } from "node:events";
import { connect } from "node:net";
import { parentPort, workerData } from "node:worker_threads";
import type { SocketAddress } from "../../../src/model/address.ts";

export interface CallerWork {
  readonly target: SocketAddress;
  /** [0]: the generation in force; [1]: non-zero ends the work. */
  readonly shared: Int32Array<SharedArrayBuffer>;
  /** Connections at a time. */
  readonly lanes: number;
}

export interface CallerResult {
  readonly connections: number;
  readonly unanswered: number;
  /** Connections that got a decision older than the one in force before they connected. */
  readonly stale: readonly { readonly inForce: number; readonly got: number }[];
}

const { target, shared, lanes } = workerData as CallerWork;
let connections = 0;
let unanswered = 0;
const stale: { inForce: number; got: number }[] = [];

async function lane(): Promise<void> {
  while (Atomics.load(shared, 1) === 0) {
    const inForce = Atomics.load(shared, 0);
    const socket = connect({ host: target.address, port: target.port });
    let text = "";
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    socket.on("error", () => {});
    await once(socket, "close");
    connections += 1;
    const got = Number(text);
    if (text === "") unanswered += 1;
    else if (got < inForce) stale.push({ inForce, got });
  }
}

await Promise.all(Array.from({ length: lanes }, lane));
parentPort?.postMessage({ connections, unanswered, stale } satisfies CallerResult, []);
