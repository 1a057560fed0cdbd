/** The engines that the suite runs on, and the pairs that it runs between. A new engine is one line here. */
import type { SocketOps } from "../../../src/model/sockets.ts";
import type { Engine, EngineEvents, EngineOptions } from "../../../src/tunnel/engine.ts";
import { createNativeEngine } from "../../../src/tunnel/native/engine.ts";
import { createTypeScriptEngine } from "../../../src/tunnel/typescript/engine.ts";

export interface EngineKind {
  readonly name: string;
  create(deps: { events: EngineEvents; sockets: SocketOps }, options: EngineOptions): Engine;
}

export const engines: readonly EngineKind[] = [
  { name: "typescript", create: createTypeScriptEngine },
  { name: "native", create: createNativeEngine },
];

/** Every engine as the client of every engine, itself included. */
export const enginePairs: readonly { name: string; client: EngineKind; server: EngineKind }[] = engines.flatMap(
  (client) => engines.map((server) => ({ name: `${client.name} to ${server.name}`, client, server })),
);
