/**
 * What a scenario sees of the place where a variant is measured, be it a lab or a real cluster: a client and a server that can be told
 * apart from everybody else, and what the agents between them cost.
 */
import type { RunResult } from "../src/lab/machine/launch.ts";
import type { ProcessorSplit } from "./lab/processors.ts";
import type { Noise, Variant } from "./model.ts";

export interface Usage {
  /** Processor time of all agents; 0 where there are none. */
  readonly agentSeconds: number;
  readonly noise: Noise;
}

export interface Bed {
  readonly variant: Variant;
  /** Whether there is an agent whose processor time can be told. */
  readonly hasAgents: boolean;
  /** Path of warren_load where `run` finds it. */
  readonly loadGenerator: string;
  /** A server pod's own address: service addresses would add a translation to the plain cluster alone. */
  target(port: number): string;
  /** Runs a program beside the client, to its end. */
  run(argv: readonly string[], timeoutMs: number, signal: AbortSignal): Promise<RunResult>;
  /** Runs something and says what it cost the agents, and how loud the machine was meanwhile. */
  observe<T>(what: () => Promise<T>): Promise<T & Usage>;
  /** Keeps agents and load apart, or lets all use everything. */
  bind(split: ProcessorSplit | undefined): Promise<void>;
  /** Of the pods' links; undefined where it cannot be read. */
  mtu(): Promise<number | undefined>;
  /** Whether load may have real time where a split asks for it; undefined where nobody binds anything. */
  readonly realTime?: boolean;
  /** Stops all that lives in the bed, so that it takes nothing from the one that is measured. Beds that cannot have no such methods. */
  rest?(): Promise<void>;
  /** Lets it live on; resolves when traffic can flow again. Both may be called twice. */
  wake?(signal: AbortSignal): Promise<void>;
  down(): Promise<void>;
}
