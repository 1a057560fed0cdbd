/** What one test puts up and `afterEach` takes down. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { Gate, type GateSetup, listen } from "./gate.ts";

/** What the application saw of a request. */
export interface Seen {
  readonly line: string;
  readonly headers: readonly string[];
  body: string;
  trailers: readonly string[];
}

export type Answer = (request: IncomingMessage, response: ServerResponse, body: string) => void;

export class Stage {
  readonly #parts: (() => unknown)[] = [];

  add(close: () => unknown): void {
    this.#parts.push(close);
  }

  async gate(setup: GateSetup): Promise<Gate> {
    const gate = await Gate.open(setup);
    this.add(() => gate.close());
    return gate;
  }

  async serve(server: Server, address?: string): Promise<number> {
    const port = await listen(server, address);
    this.add(() => {
      server.closeAllConnections();
      server.close();
    });
    return port;
  }

  /** Answers once it has the whole request. */
  async application(
    answer: Answer = (_request, response) => response.end("hello"),
    address?: string,
  ): Promise<{
    readonly port: number;
    readonly seen: Seen[];
  }> {
    const seen: Seen[] = [];
    const server = createServer({ requireHostHeader: false }, (request, response) => {
      const line = `${request.method} ${request.url}`;
      const one: Seen = { line, headers: request.rawHeaders, body: "", trailers: [] };
      seen.push(one);
      request.setEncoding("latin1");
      request.on("data", (chunk: string) => {
        one.body += chunk;
      });
      request.on("error", () => {});
      request.on("end", () => {
        one.trailers = request.rawTrailers;
        answer(request, response, one.body);
      });
    });
    server.on("checkContinue", (request, response) => {
      response.writeContinue();
      server.emit("request", request, response);
    });
    return { port: await this.serve(server, address), seen };
  }

  async close(): Promise<void> {
    for (const close of this.#parts.splice(0).toReversed()) await close();
  }
}
