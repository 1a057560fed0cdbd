/**
 * Keeps the authority in a folder that only the control plane's user can read: the embedded default without Kubernetes. Each version
 * of the state is a file of its own, `authority.<number>.json`, and the highest number is the state. A new version comes by link(2),
 * which fails where the name exists: of several processes that replace the same version one wins, and a crash leaves the old or the new.
 */
import { randomUUID } from "node:crypto";
import { link, mkdir, open, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../lib/clock.ts";
import { MeshError, messageOf } from "../../lib/errors.ts";
import {
  type AuthorityState,
  type AuthorityVault,
  decodeAuthorityState,
  encodeAuthorityState,
  type KeptState,
  unusableVault,
} from "./authority-state.ts";

const statePattern = /^authority\.(\d{1,15})\.json$/;
const draftPrefix = ".authority.draft.";
/** A draft this old was left by a crash; a living process needs milliseconds. */
const staleDraftMs = 60_000;
/** How soon one process sees what another one did. */
const pollMs = 1000;

export class StateFolder implements AuthorityVault {
  readonly #folder: string;
  readonly #clock: Clock;

  constructor(deps: { readonly clock: Clock }, options: { readonly folder: string }) {
    this.#clock = deps.clock;
    this.#folder = options.folder;
  }

  async load(): Promise<KeptState | undefined> {
    for (;;) {
      const number = await this.#newest();
      if (number === 0) return undefined;
      const text = await this.#read(this.#file(number));
      // Gone between the two: another process has put a newer one in force.
      if (text !== undefined) {
        return { version: String(number), state: decodeAuthorityState(text, this.#file(number)) };
      }
    }
  }

  async create(state: AuthorityState): Promise<KeptState> {
    const kept = await this.#keep(1, state);
    if (kept !== undefined) return kept;
    const first = await this.load();
    if (first === undefined) throw unusableVault(this.#folder, "it vanished while it was being read");
    return first;
  }

  async replace(version: string, state: AuthorityState): Promise<KeptState | undefined> {
    return await this.#keep(Number(version) + 1, state);
  }

  watch(changed: () => void): () => void {
    let seen: number | undefined;
    let stopped = false;
    let cancel = () => {};
    const look = async () => {
      // A folder that cannot be read now: what is in force stays so, and the next look may see it.
      const number = await this.#newest().catch(() => seen ?? 0);
      if (stopped) return;
      if (seen !== undefined && number !== seen) changed();
      seen = number;
      cancel = this.#clock.after(pollMs, () => void look());
    };
    void look();
    return () => {
      stopped = true;
      cancel();
    };
  }

  #file(number: number): string {
    return join(this.#folder, `authority.${number}.json`);
  }

  async #numbers(): Promise<number[]> {
    try {
      const names = await readdir(this.#folder);
      return names.flatMap((name) => statePattern.exec(name)?.[1] ?? []).map(Number);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw unusableVault(this.#folder, error);
    }
  }

  async #newest(): Promise<number> {
    return Math.max(0, ...(await this.#numbers()));
  }

  async #read(file: string): Promise<string | undefined> {
    try {
      const { mode } = await stat(file);
      if ((mode & 0o077) !== 0) {
        throw new MeshError(
          "MESH_AUTHORITY_EXPOSED",
          `${file} holds the mesh's root key and others may use it; chmod 600`,
        );
      }
      return await readFile(file, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      if (error instanceof MeshError) throw error;
      throw unusableVault(file, error);
    }
  }

  /** Undefined when this number, or a later one, is another's. */
  async #keep(number: number, state: AuthorityState): Promise<KeptState | undefined> {
    const file = this.#file(number);
    const draft = await this.#draft(state);
    try {
      await link(draft, file);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EEXIST") return undefined;
      throw unusableVault(this.#folder, error);
    } finally {
      await rm(draft, { force: true });
    }
    const numbers = await this.#numbers();
    if (numbers.some((other) => other > number)) {
      // Ours was removed long ago by those who went on from it.
      await rm(file, { force: true });
      return undefined;
    }
    await this.#sync();
    // Old keys are nothing to keep.
    for (const old of numbers) if (old < number) await rm(this.#file(old), { force: true });
    return { version: String(number), state };
  }

  /** The state in a file of its own, on disk before anything points to it. */
  async #draft(state: AuthorityState): Promise<string> {
    try {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      await this.#removeStaleDrafts();
      const path = join(this.#folder, `${draftPrefix}${randomUUID()}`);
      const file = await open(path, "wx", 0o600);
      try {
        await file.writeFile(encodeAuthorityState(state));
        await file.sync();
      } finally {
        await file.close();
      }
      return path;
    } catch (error) {
      throw new MeshError("MESH_AUTHORITY_UNWRITABLE", `${this.#folder} cannot be written: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }

  async #removeStaleDrafts(): Promise<void> {
    for (const name of await readdir(this.#folder)) {
      if (!name.startsWith(draftPrefix)) continue;
      const path = join(this.#folder, name);
      const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Infinity }));
      if (Date.now() - mtimeMs > staleDraftMs) await rm(path, { force: true });
    }
  }

  /** The folder's own entry, so that the name survives a power cut too. */
  async #sync(): Promise<void> {
    const folder = await open(this.#folder, "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }
}
