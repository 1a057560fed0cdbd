/** node:http's parser for connections that are handed over: one server that never listens, and whose connection each event is. */
import { createServer, type Server } from "node:http";
import type { Duplex } from "node:stream";
import type { HandedFlow } from "../driver.ts";
import type { HttpEnforcerDeps, HttpEnforcerOptions } from "./enforcement.ts";
import { Http1Connection } from "./http1-connection.ts";
import { hasFraming } from "./request-head.ts";

export class Http1Server {
  readonly #deps: HttpEnforcerDeps;
  readonly #options: HttpEnforcerOptions;
  readonly #server: Server;
  readonly #connections = new WeakMap<Duplex, Http1Connection>();

  constructor(deps: HttpEnforcerDeps, options: HttpEnforcerOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#server = createServer({
      insecureHTTPParser: false,
      maxHeaderSize: options.maxHeaderSize,
      keepAliveTimeout: 0,
      // Missing and doubled hosts are refused alike, by the reading of the head.
      requireHostHeader: false,
      // The parser lets go behind every wish for an upgrade, granted or not. Where nothing is to come of the message it can be taken
      // up again at the right byte; bytes behind a body would be lost, so such a message is read as the connection's last.
      shouldUpgradeCallback: ({ rawHeaders }) => !hasFraming(rawHeaders),
    });
    // Node's own word for it: a client that ends its side still gets its answers.
    Object.assign(this.#server, { httpAllowHalfOpen: true });
    // The size of a header section is limited; a number that cuts the list off would hide fields from policies.
    this.#server.maxHeadersCount = 0;
    const server = this.#server;
    server.on("request", (incoming, response) => {
      this.#connections.get(incoming.socket)?.request(incoming, response, "nothing");
    });
    server.on("checkContinue", (incoming, response) => {
      this.#connections.get(incoming.socket)?.request(incoming, response, "continue");
    });
    server.on("upgrade", (incoming, duplex, rest) => {
      this.#connections.get(duplex)?.detached(incoming, rest);
    });
    server.on("connect", (incoming, duplex, rest) => {
      this.#connections.get(duplex)?.detached(incoming, rest);
    });
    server.on("clientError", (error, duplex) => this.#connections.get(duplex)?.unreadable(error));
  }

  accept(flow: HandedFlow, duplex: Duplex): Http1Connection {
    const connection = new Http1Connection(this.#deps, this.#options, {
      flow,
      duplex,
      reattach: () => {
        // All that Node leaves behind of its earlier hold.
        duplex.removeAllListeners("pause").removeAllListeners("resume");
        this.#server.emit("connection", duplex);
      },
    });
    this.#connections.set(duplex, connection);
    this.#server.emit("connection", duplex);
    duplex.on("data", () => connection.received());
    return connection;
  }
}
