/**
 * The door to a running lab for other processes: HTTP over a Unix socket in the lab's state folder, which root alone can enter.
 * `warren lab exec|apply|delete|status|logs|down` come in here, whoever runs the lab.
 */
import { createServer, type IncomingMessage, type Server } from "node:http";
import { MeshError, messageOf } from "../lib/errors.ts";
import type { Lab } from "./lab.ts";

type Route = (query: URLSearchParams, body: string) => unknown;

/** Manifests are small; more than this is a mistake. */
const bodyLimit = 16 * 1024 * 1024;

export class LabSocket {
  readonly #path: string;
  readonly #server: Server;
  readonly #routes: ReadonlyMap<string, Route>;
  /** Called when somebody asks the lab to go; undefined while its owner removes it itself. */
  onDown: (() => void) | undefined;

  constructor(lab: Lab, path: string) {
    this.#path = path;
    this.#routes = routesOf(lab, () => this.onDown);
    this.#server = createServer((request, response) => {
      void this.#answer(request).then(({ status, value }) => {
        response.writeHead(status, { "content-type": "application/json" });
        response.end(JSON.stringify(value));
      });
    });
    // Other processes' questions are no reason for this one to stay.
    this.#server.unref();
  }

  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(this.#path, () => resolve());
    });
  }

  async close(): Promise<void> {
    if (!this.#server.listening) return;
    await new Promise((resolve) => {
      this.#server.close(resolve);
      this.#server.closeAllConnections();
    });
  }

  async #answer(request: IncomingMessage): Promise<{ status: number; value: unknown }> {
    try {
      const url = new URL(request.url ?? "/", "http://lab");
      const route = this.#routes.get(`${request.method} ${url.pathname}`);
      if (route === undefined) return { status: 404, value: { code: "MESH_LAB_NOT_FOUND", message: "no such door" } };
      return { status: 200, value: (await route(url.searchParams, await bodyOf(request))) ?? {} };
    } catch (error) {
      const code = error instanceof MeshError ? error.code : "MESH_LAB_FAILED";
      return { status: 400, value: { code, message: messageOf(error) } };
    }
  }
}

function routesOf(lab: Lab, onDown: () => (() => void) | undefined): Map<string, Route> {
  const optional = (query: URLSearchParams, name: string) => query.get(name) ?? undefined;
  const needed = (query: URLSearchParams, name: string) => {
    const value = query.get(name);
    if (value === null) throw new MeshError("MESH_LAB_FAILED", `the question lacks ${name}`);
    return value;
  };
  return new Map<string, Route>([
    ["GET /status", () => lab.status()],
    ["POST /apply", (query, body) => lab.apply({ name: optional(query, "name") ?? "manifest", text: body })],
    ["POST /delete", (query) => lab.delete(needed(query, "kind"), optional(query, "namespace"), needed(query, "name"))],
    [
      "GET /place",
      (query) => {
        const { place, env } = lab.placeInPod(needed(query, "pod"));
        return { cgroup: place.cgroup.path, holder: place.holder, env };
      },
    ],
    ["GET /log", (query) => ({ path: lab.logPath(needed(query, "of"), optional(query, "container")) })],
    [
      "POST /label",
      (query, body) =>
        lab.label(needed(query, "kind"), optional(query, "namespace"), needed(query, "name"), labelChanges(body)),
    ],
    ["GET /labelled", (query) => ({ objects: lab.labelled(needed(query, "label")) })],
    ["POST /agent", (query) => agentAction(lab, needed(query, "node"), needed(query, "action"))],
    [
      "POST /down",
      () => {
        const act = onDown();
        // After the answer is on its way: going down closes this very connection.
        if (act !== undefined) setImmediate(act);
        return { accepted: act !== undefined };
      },
    ],
  ]);
}

async function agentAction(lab: Lab, node: string, action: string): Promise<void> {
  if (action === "start") await lab.startAgent(node);
  else if (action === "stop") await lab.stopAgent(node);
  else if (action === "kill") await lab.killAgent(node);
  else throw new MeshError("MESH_LAB_FAILED", `an agent cannot ${action}; it can start, stop and kill`);
}

function labelChanges(body: string): Record<string, string | null> {
  const changes: Record<string, string | null> = {};
  for (const [key, value] of Object.entries(JSON.parse(body) as Record<string, unknown>))
    changes[key] = typeof value === "string" ? value : null;
  return changes;
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > bodyLimit) throw new MeshError("MESH_LAB_FAILED", "the manifests are larger than 16 MiB");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
