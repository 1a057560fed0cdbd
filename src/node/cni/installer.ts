/**
 * Keeps `warren-cni` in the node's chain of network plugins: puts the program where the runtime looks for plugins, writes our own
 * configuration (`conflist.ts`), and writes it again whenever the primary one changes or somebody took ours away. The folder is polled
 * rather than watched: nodes are known to run out of inotify instances, and a look costs a few system calls.
 */
import { readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { writeAtomically } from "../../lib/atomic-file.ts";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { chained, ownConflistName, type PluginSettings, pluginType, primaryConflist } from "./conflist.ts";

export interface CniInstallerDeps {
  readonly clock: Clock;
  readonly log: Record<"info" | "warn", (fields: object, message: string) => void>;
}

export interface CniInstallerOptions {
  /** The built program. */
  readonly program: string;
  readonly binDir: string;
  readonly confDir: string;
  readonly settings: PluginSettings;
  /** How soon a change is seen. */
  readonly everyMs: number;
}

export class CniInstaller {
  readonly #deps: CniInstallerDeps;
  readonly #options: CniInstallerOptions;
  #cancel: () => void = () => {};
  #looking: Promise<void> = Promise.resolve();
  #stopped = false;
  /** What was last complained of: each trouble is told once. */
  #complaint = "";
  #written = "";

  constructor(deps: CniInstallerDeps, options: CniInstallerOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** Rejects when the program cannot be put in place; a node without a configuration yet is waited for. */
  async start(): Promise<void> {
    await this.#installProgram();
    await this.#look();
  }

  /** Leaves what is installed, for the next agent. May be called twice. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    await this.#looking;
  }

  /** Takes the plugin out of the chain. The program stays: a runtime that read the old configuration still looks for it. */
  async uninstall(): Promise<void> {
    await this.stop();
    await rm(join(this.#options.confDir, ownConflistName), { force: true });
    this.#deps.log.info({ folder: this.#options.confDir }, "the CNI plugin is out of the node's chain");
  }

  async #installProgram(): Promise<void> {
    const { program, binDir } = this.#options;
    const path = join(binDir, pluginType);
    const wanted = await readFile(program);
    const there = await readFile(path).catch(() => undefined);
    if (there?.equals(wanted) && ((await stat(path)).mode & 0o777) === 0o755) return;
    // By renaming: a program that runs cannot be written to, and one that is half there must not be run.
    await writeAtomically(path, wanted, 0o755);
    this.#deps.log.info({ path }, "the CNI plugin is in place");
  }

  async #look(): Promise<void> {
    this.#looking = this.#update().catch((error: unknown) => this.#complain(messageOf(error)));
    await this.#looking;
    if (!this.#stopped) this.#cancel = this.#deps.clock.after(this.#options.everyMs, () => void this.#look());
  }

  async #update(): Promise<void> {
    const { confDir, settings } = this.#options;
    const names = await readdir(confDir);
    const primary = primaryConflist(names);
    if (primary === undefined) {
      // Ours alone would give pods no network at all: without another one it goes, too, and the node says that it is not ready.
      if (names.includes(ownConflistName)) await rm(join(confDir, ownConflistName), { force: true });
      return this.#complain(
        `${confDir} holds no network configuration yet; pods start when the node's network plugin writes one`,
      );
    }
    const wanted = chained(primary, await readFile(join(confDir, primary), "utf8"), settings);
    const path = join(confDir, ownConflistName);
    const there = await readFile(path, "utf8").catch(() => undefined);
    if (there !== wanted && !this.#stopped) {
      if (there === undefined && this.#written !== "")
        this.#deps.log.warn(
          { path },
          "somebody removed our network configuration; let its owner leave others' files alone",
        );
      await writeAtomically(path, wanted, 0o644);
      this.#deps.log.info({ path, primary }, "the CNI plugin is in the node's chain");
    }
    this.#written = wanted;
    this.#complaint = "";
  }

  #complain(what: string): void {
    if (what === this.#complaint) return;
    this.#complaint = what;
    this.#deps.log.warn({}, what);
  }
}
