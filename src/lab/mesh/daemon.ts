/** A long-running program of the lab that can be stopped, killed and started again: an agent or the control plane. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { launch, type Place } from "../machine/launch.ts";

export interface DaemonOptions {
  readonly name: string;
  readonly place: Place;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly logPath: string;
}

export class Daemon {
  readonly name: string;
  readonly logPath: string;
  readonly #options: DaemonOptions;
  readonly #event: (line: string) => void;
  #child: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  #wanted = false;
  #failure: string | undefined;

  constructor(deps: { readonly event: (line: string) => void }, options: DaemonOptions) {
    this.name = options.name;
    this.logPath = options.logPath;
    this.#options = options;
    this.#event = deps.event;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get running(): boolean {
    return this.#child !== undefined;
  }

  /** How it ended, if it did so without being told to and was not started again. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** The last of what it said, for whoever asks why it ended. */
  lastWords(lines = 5): string {
    if (!existsSync(this.logPath)) return "nothing";
    return readFileSync(this.logPath, "utf8").trimEnd().split("\n").slice(-lines).join("\n");
  }

  /** Resolves when the process runs. */
  async start(): Promise<void> {
    if (this.#child !== undefined) return;
    const { place, argv, env, logPath, name } = this.#options;
    const log = openSync(logPath, "a");
    const child = launch(place, argv, { stdio: ["ignore", log, log], env, detached: true });
    closeSync(log);
    child.unref();
    this.#child = child;
    this.#wanted = true;
    this.#failure = undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#exited = promise;
    const onEnd = (how: string) => {
      if (this.#child === child) this.#child = undefined;
      if (this.#wanted) {
        this.#failure = how;
        this.#event(`${name} ended ${how}; its log is ${logPath}`);
      }
      this.#wanted = false;
      resolve();
    };
    child.on("error", (error) => onEnd(`before it began: ${error.message}`));
    child.once("exit", (code, signal) => onEnd(signal === null ? `with code ${code}` : `by ${signal}`));
    await once(child, "spawn");
  }

  /** Its end is expected from now on. */
  close(): void {
    this.#wanted = false;
  }

  /** SIGTERM, and after the grace period SIGKILL. Resolves when it is gone. */
  async stop(graceMs = 30_000): Promise<void> {
    this.#wanted = false;
    const child = this.#child;
    if (child === undefined) return;
    child.kill("SIGTERM");
    const timer = setTimeout(() => this.#options.place.cgroup.kill(), graceMs);
    await this.#exited;
    clearTimeout(timer);
  }

  /** kill -9. Resolves when it is gone. */
  async kill(): Promise<void> {
    this.#wanted = false;
    this.#options.place.cgroup.kill();
    await this.#exited;
  }
}
