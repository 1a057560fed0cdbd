import { afterEach, expect, it, vi } from "vitest";
import type { SocketOps } from "../../src/model/sockets.ts";
import type { NodeConfig } from "../../src/node/config.ts";
import { chooseEngine } from "../../src/node/engine-choice.ts";

const sockets: SocketOps = {
  openSocket: () => {
    throw new Error("no socket is opened here");
  },
  originalDestination: () => undefined,
};

async function choose(engine: NodeConfig["engine"]) {
  const warnings: string[] = [];
  const config = { engine, workers: undefined, timeouts: {}, limits: {}, tls: {}, otlp: {} } as unknown as NodeConfig;
  const { kind, limits } = await chooseEngine(config, {
    sockets,
    descriptors: 1024,
    warn: (message) => warnings.push(message),
  });
  return { kind, warnings, limits };
}

afterEach(() => vi.unstubAllEnvs());

it("runs the engine that is asked for", async () => {
  expect(await choose("native")).toMatchObject({ kind: "native", warnings: [] });
  expect(await choose("typescript")).toMatchObject({ kind: "typescript", warnings: [] });
});

it("lets the TypeScript engine step in, and says why, where the native one cannot be loaded", async () => {
  vi.stubEnv("WARREN_ENGINE_ADDON", "/nowhere/warren_engine.node");
  const { kind, warnings } = await choose("native");
  expect(kind).toBe("typescript");
  expect(warnings).toEqual([expect.stringContaining("cannot load the native engine from /nowhere/warren_engine.node")]);
});

it("tells the engine how many descriptors the process may have, so that no pod takes the last ones", async () => {
  expect((await choose("native")).limits).toMatchObject({ descriptors: 1024 });
});
