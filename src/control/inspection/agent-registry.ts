/** Which agents are connected to this replica, who asks them, and which nodes an agent is expected of. */
import type { Clock } from "../../lib/clock.ts";
import type { MeshView } from "../../model/mesh.ts";
import type { AgentStream } from "./agent-stream.ts";

export interface AgentRegistryDeps {
  readonly clock: Clock;
  readonly view: () => MeshView;
}

/** An agent that was here this recently is expected back. */
const rememberedMs = 3_600_000;

export class AgentRegistry {
  readonly #deps: AgentRegistryDeps;
  /** By node, oldest first: while an agent is replaced there are two. */
  readonly #streams = new Map<string, AgentStream[]>();
  readonly #lastSeen = new Map<string, number>();
  readonly #listeners = new Set<(stream: AgentStream) => void>();

  constructor(deps: AgentRegistryDeps) {
    this.#deps = deps;
  }

  /** The one that connected last: a predecessor that still drains knows less and less. */
  agentOf(node: string): AgentStream | undefined {
    return this.#streams.get(node)?.at(-1);
  }

  /** One of each node, in order of the nodes' names. */
  agents(): AgentStream[] {
    return [...this.#streams.keys()].sort().flatMap((node) => this.agentOf(node) ?? []);
  }

  /** Nodes that have an agent, had one lately, or must have one because enrolled pods live there; in order. */
  nodes(): string[] {
    const { clock, view } = this.#deps;
    const nodes = new Set(this.#streams.keys());
    for (const [node, at] of this.#lastSeen) {
      if (clock.now() - at < rememberedMs) nodes.add(node);
      else this.#lastSeen.delete(node);
    }
    for (const { node, tunnel } of view().workloads()) if (node !== "" && tunnel === "hbone") nodes.add(node);
    return [...nodes].sort();
  }

  /** Called with each agent that has said hello. */
  onJoin(listener: (stream: AgentStream) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  add(stream: AgentStream): void {
    this.#streams.set(stream.node, [...(this.#streams.get(stream.node) ?? []), stream]);
    for (const listener of this.#listeners) listener(stream);
  }

  /** May be called for a stream that never joined. */
  remove(stream: AgentStream): void {
    const { node } = stream;
    const streams = this.#streams.get(node);
    if (streams?.includes(stream) !== true) return;
    this.#lastSeen.set(node, this.#deps.clock.now());
    const left = streams.filter((other) => other !== stream);
    if (left.length === 0) this.#streams.delete(node);
    else this.#streams.set(node, left);
  }
}
