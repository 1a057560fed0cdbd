/**
 * `pods/portforward` over a websocket, as v4.channel.k8s.io has it: a data and an error channel per port, both beginning with the port
 * number. Pods of a test listen where the test says. The websocket itself is the `ws` that the Kubernetes client brings.
 */
import type { IncomingMessage } from "node:http";
import { createRequire } from "node:module";
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import { badRequest } from "./failure.ts";
import type { RequestInfo } from "./request-info.ts";
import { resourceOf } from "./resources.ts";
import type { Store } from "./store.ts";

/** What is used of `ws`, which comes without types. */
interface WebSocketLike {
  send(data: Buffer): void;
  close(): void;
  on(event: "message", listener: (data: Buffer) => void): void;
  on(event: "close", listener: () => void): void;
  on(event: "error", listener: (error: Error) => void): void;
}

interface WebSocketServerLike {
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer, then: (webSocket: WebSocketLike) => void): void;
}

interface WebSocketModule {
  readonly WebSocketServer: new (options: {
    noServer: true;
    handleProtocols: (protocols: ReadonlySet<string>) => string | false;
  }) => WebSocketServerLike;
}

export class PortForwards {
  readonly #store: Store;
  /** `namespace/pod:port` to the port of this machine that plays it. */
  readonly #listeners = new Map<string, number>();
  #server: WebSocketServerLike | undefined;

  constructor(store: Store) {
    this.#store = store;
  }

  /** The pod's port is this port of 127.0.0.1. */
  listen(namespace: string, pod: string, port: number, here: number): void {
    this.#listeners.set(`${namespace}/${pod}:${port}`, here);
  }

  accept(info: RequestInfo, request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const { namespace, name, plural, subresource, query } = info;
    const pods = resourceOf("", "pods");
    if (plural !== "pods" || subresource !== "portforward" || pods === undefined) throw badRequest("no such upgrade");
    this.#store.require(pods, namespace, name);
    const port = Number(query.get("ports"));
    const here = this.#listeners.get(`${namespace}/${name}:${port}`);
    this.#webSockets().handleUpgrade(request, socket, head, (webSocket) => {
      const frame = (channel: number, data: Buffer) => webSocket.send(Buffer.concat([Buffer.from([channel]), data]));
      const number = Buffer.alloc(2);
      number.writeUInt16LE(port);
      frame(0, number);
      frame(1, number);
      if (here === undefined) {
        frame(1, Buffer.from(`error forwarding port ${port}: connection refused`));
        return webSocket.close();
      }
      const target = connect(here, "127.0.0.1");
      target.on("data", (data) => frame(0, data));
      target.on("close", () => webSocket.close());
      target.on("error", (error) => frame(1, Buffer.from(error.message)));
      webSocket.on("message", (data) => {
        if (data[0] === 0 && data.length > 1) target.write(data.subarray(1));
      });
      webSocket.on("close", () => target.destroy());
      webSocket.on("error", () => target.destroy());
    });
  }

  #webSockets(): WebSocketServerLike {
    if (this.#server !== undefined) return this.#server;
    const here = createRequire(import.meta.url);
    const client = createRequire(here.resolve("@kubernetes/client-node"));
    const { WebSocketServer } = client("ws") as WebSocketModule;
    const handleProtocols = (protocols: ReadonlySet<string>) =>
      ["v4.channel.k8s.io", "v5.channel.k8s.io"].find((known) => protocols.has(known)) ?? false;
    this.#server = new WebSocketServer({ noServer: true, handleProtocols });
    return this.#server;
  }
}
