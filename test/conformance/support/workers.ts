/** Engines with more workers than the suite's one, for what happens between threads. */
import type { EngineKind } from "./engines.ts";

/** The TypeScript engine has no workers: it is the same with any number. */
export function withWorkers(kind: EngineKind, workers: number): EngineKind {
  return { name: kind.name, create: (deps, options) => kind.create(deps, { ...options, workers }) };
}
