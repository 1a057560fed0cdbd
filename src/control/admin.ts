/** The control plane's HTTP port for the kubelet and Prometheus: readiness with the names of what is missing, and metrics. No secrets. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Registry } from "prom-client";
import { MeshError, messageOf } from "../lib/errors.ts";
import { formatHostPort } from "../lib/host-port.ts";

export interface AdminDeps {
  readonly registry: Registry;
  /** What start still waits for; empty when ready. */
  readonly blockers: () => readonly string[];
  /** Who listens for the state of the mesh, and how it takes what it is sent. */
  readonly discoveryClients: () => readonly object[];
}

export interface AdminOptions {
  /** Empty for all addresses of both families. */
  readonly host: string;
  readonly port: number;
}

export class Admin {
  readonly #deps: AdminDeps;
  readonly #options: AdminOptions;
  readonly #server: Server;

  constructor(deps: AdminDeps, options: AdminOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#server = createServer({ requestTimeout: 10_000 }, (request, response) => {
      this.#answer(request, response).catch((error: unknown) => respond(response, 500, `${messageOf(error)}\n`));
    });
  }

  /** The port that was bound; rejects with MESH_LISTEN_FAILED. */
  async start(): Promise<number> {
    const { host, port } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once("error", reject);
    this.#server.listen(host === "" ? { port } : { host, port }, resolve);
    try {
      await promise;
    } catch (error) {
      throw new MeshError("MESH_LISTEN_FAILED", `cannot listen on ${formatHostPort(host, port)}: ${messageOf(error)}`, {
        cause: error,
      });
    }
    return (this.#server.address() as AddressInfo).port;
  }

  /** May be called twice and after a failed start. */
  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#server.closeAllConnections();
    await promise;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? "/", "http://control");
    if (request.method !== "GET" && request.method !== "HEAD") return respond(response, 405, "only GET\n");
    switch (pathname) {
      case "/healthz/ready": {
        const blockers = this.#deps.blockers();
        if (blockers.length === 0) return respond(response, 200, "ready\n");
        return respond(response, 503, `waiting for ${blockers.join(", ")}\n`);
      }
      case "/metrics": {
        const { registry } = this.#deps;
        return respond(response, 200, await registry.metrics(), registry.contentType);
      }
      case "/discovery":
        return respond(
          response,
          200,
          `${JSON.stringify(this.#deps.discoveryClients(), null, 2)}\n`,
          "application/json",
        );
      default:
        return respond(response, 404, "/discovery\n/healthz/ready\n/metrics\n");
    }
  }
}

function respond(response: ServerResponse, status: number, body: string, type = "text/plain; charset=utf-8"): void {
  response.writeHead(status, { "content-type": type }).end(body);
}
