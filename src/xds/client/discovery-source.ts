/**
 * Mesh state from the control plane: the agent's source in a cluster. A lost stream loses nothing: what was heard stays in force, the
 * next stream says what is held and gets the difference, and an agent that starts while the control plane is away begins with what
 * its predecessor kept on the disk.
 */

import { abortable } from "../../lib/abort.ts";
import { backoffDelay } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { pause } from "../../lib/pause.ts";
import type { MeshIndex } from "../../mesh/mesh-index.ts";
import type { MeshChange, MeshSettings, MeshSource } from "../../model/mesh.ts";
import { type ConnectionOptions, followDiscovery } from "./discovery-connection.ts";
import { type DiscoveryProblem, DiscoveryState } from "./discovery-state.ts";
import { LastGoodState } from "./last-good-state.ts";
import type { Dialect } from "./mesh-assembler.ts";
import { StateKeeper } from "./state-keeper.ts";

export interface DiscoverySourceDeps {
  readonly clock: Clock;
  readonly random: () => number;
}

export interface DiscoverySourceOptions extends ConnectionOptions {
  /** In force until the control plane has spoken. */
  readonly settings: MeshSettings;
  /** Default: our own control plane's. */
  readonly dialect?: Dialect;
  /** File for the last good state; undefined keeps none. */
  readonly stateFile: string | undefined;
}

export interface DiscoverySource extends MeshSource {
  readonly view: MeshIndex;
  problems(): readonly DiscoveryProblem[];
  onProblems(listener: (problems: readonly DiscoveryProblem[]) => void): () => void;
}

const backoff = { firstMs: 100, factor: 2, longestMs: 15_000, jitter: 0.5 } as const;

/** An agent that holds a state waits this long for a better one before it goes on with its own. */
const graceMs = 3000;

export function createDiscoverySource(deps: DiscoverySourceDeps, options: DiscoverySourceOptions): DiscoverySource {
  return new Source(deps, options);
}

/** What can be wrong apart from resources. */
type Trouble = "stream" | "state file" | "saving";

class Source implements DiscoverySource {
  readonly #deps: DiscoverySourceDeps;
  readonly #options: DiscoverySourceOptions;
  readonly #state: DiscoveryState;
  readonly #lastGood: LastGoodState | undefined;
  readonly #keeper: StateKeeper | undefined;
  readonly #listeners = new Set<(problems: readonly DiscoveryProblem[]) => void>();
  /** What is wrong apart from resources, by what it is about. */
  readonly #troubles = new Map<Trouble, string>();
  #told = "[]";
  #stop = new AbortController();
  #running: Promise<void> | undefined;
  /** Called when the first state is complete, or the first stream has failed. */
  #progress: () => void = () => {};

  constructor(deps: DiscoverySourceDeps, options: DiscoverySourceOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#state = new DiscoveryState(options.settings, options.node, options.dialect);
    const { stateFile: path, node } = options;
    if (path === undefined) return;
    this.#lastGood = new LastGoodState({ path, node });
    this.#keeper = new StateKeeper({
      clock: deps.clock,
      state: this.#state,
      lastGood: this.#lastGood,
      trouble: (message) => this.#trouble("saving", message),
    });
  }

  get view(): MeshIndex {
    return this.#state.index;
  }

  onChange(listener: (change: MeshChange) => void): () => void {
    return this.#state.index.onChange(listener);
  }

  onProblems(listener: (problems: readonly DiscoveryProblem[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  problems(): readonly DiscoveryProblem[] {
    const troubles = [...this.#troubles.values()].map((message) => ({ object: "", message }));
    return [...troubles, ...this.#state.problems];
  }

  async start(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#running !== undefined) return;
    this.#stop = new AbortController();
    const held = await this.#load();
    signal.throwIfAborted();
    this.#state.onAccepted((change) => this.#keeper?.changed(change));
    const { promise, resolve } = Promise.withResolvers<void>();
    let heard = false;
    this.#progress = () => {
      if (heard || held) resolve();
    };
    const cancel = held ? this.#deps.clock.after(graceMs, resolve) : () => {};
    this.#running = this.#follow(this.#stop.signal, () => {
      heard = true;
    });
    try {
      await abortable(promise, signal);
    } catch (error) {
      await this.stop();
      throw error;
    } finally {
      cancel();
      this.#progress = () => {};
    }
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error("discovery is stopped"));
    await this.#running;
    this.#running = undefined;
    await this.#keeper?.stop();
  }

  async #load(): Promise<boolean> {
    try {
      const savedAt = await this.#lastGood?.load(this.#state);
      if (savedAt === undefined) return false;
      this.#trouble("state file", `running on the state of ${new Date(savedAt).toISOString()} until control speaks`);
      return true;
    } catch (error) {
      this.#trouble("state file", messageOf(error));
      return false;
    }
  }

  /** Streams, one after the other, until told to stop. */
  async #follow(signal: AbortSignal, complete: () => void): Promise<void> {
    const { clock, random } = this.#deps;
    const heard = new Set<string>();
    let failures = 0;
    const applied = (type: string, more: boolean) => {
      failures = 0;
      if (!more) heard.add(type);
      this.#trouble("stream", undefined);
      if (heard.size < this.#state.types.length) return;
      this.#trouble("state file", undefined);
      complete();
      this.#progress();
    };
    while (!signal.aborted) {
      try {
        await followDiscovery(this.#state, this.#options, { applied }, signal);
      } catch (error) {
        if (signal.aborted) return;
        this.#trouble("stream", messageOf(error));
        this.#progress();
      }
      failures++;
      await pause(clock, backoffDelay(failures, backoff, random()), signal);
    }
  }

  #trouble(about: Trouble, message: string | undefined): void {
    if (message === undefined) this.#troubles.delete(about);
    else this.#troubles.set(about, message);
    const problems = this.problems();
    const text = JSON.stringify(problems);
    if (text === this.#told) return;
    this.#told = text;
    for (const listener of this.#listeners) listener(problems);
  }
}
