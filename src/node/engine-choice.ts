/** Which engine moves the bytes: the one asked for, and the TypeScript one where the native one cannot be loaded. */
import { availableParallelism } from "node:os";
import type { SocketOps } from "../model/sockets.ts";
import type { EngineFactory } from "../tunnel/driver.ts";
import type { Engine, EngineLimits, EngineOptions } from "../tunnel/engine.ts";
import { tracesOf } from "./config/otlp.ts";
import { engineLimits } from "./config/traffic.ts";
import type { NodeConfig } from "./config.ts";

export interface ChosenEngine {
  readonly kind: Engine["kind"];
  readonly create: EngineFactory;
  /** Those in force. */
  readonly limits: EngineLimits;
}

export interface EngineChoiceDeps {
  readonly sockets: SocketOps;
  /** How many the process may have. */
  readonly descriptors: number;
  /** Told why the engine asked for is not the one that runs. */
  readonly warn: (message: string) => void;
}

/** More workers than this find no work on a node whose processors belong to its pods. */
const mostWorkers = 4;

/** Loads the engine that will run, and leaves the other one on the disk. */
export async function chooseEngine(config: NodeConfig, deps: EngineChoiceDeps): Promise<ChosenEngine> {
  const { sockets, warn, descriptors } = deps;
  const { timeouts, tls } = config;
  const limits = { ...engineLimits(config.limits), descriptors };
  const workers = config.workers ?? Math.min(mostWorkers, availableParallelism());
  const options: EngineOptions = {
    timeouts,
    limits,
    tls,
    traces: tracesOf(config.otlp),
    workers,
  };
  if (config.engine === "native") {
    const { EngineUnavailable, loadEngineAddon } = await import("../tunnel/native/addon.ts");
    try {
      loadEngineAddon();
      const { createNativeEngine } = await import("../tunnel/native/engine.ts");
      return { kind: "native", limits, create: (events) => createNativeEngine({ events }, options) };
    } catch (error) {
      if (!(error instanceof EngineUnavailable)) throw error;
      warn(`the typescript engine steps in: ${error.message}`);
    }
  }
  const { createTypeScriptEngine } = await import("../tunnel/typescript/engine.ts");
  return { kind: "typescript", limits, create: (events) => createTypeScriptEngine({ events, sockets }, options) };
}
