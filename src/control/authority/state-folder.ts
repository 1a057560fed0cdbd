/** Keeps the authority in one file of a folder that only the control plane's user can read: the embedded default without Kubernetes. */
import { randomUUID } from "node:crypto";
import { link, mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { MeshError, messageOf } from "../../lib/errors.ts";
import type { AuthorityState, AuthorityVault } from "./authority-state.ts";

const fileName = "authority.json";
const draftPrefix = `.${fileName}.`;
/** A draft this old was left by a crash; a living process needs milliseconds. */
const staleDraftMs = 60_000;

const keyed = z.strictObject({ certificate: z.string().min(1), key: z.string().min(1) });
const fileSchema = z.strictObject({ version: z.literal(1), root: keyed, intermediate: keyed });

export class StateFolder implements AuthorityVault {
  readonly #folder: string;
  readonly #file: string;

  constructor(folder: string) {
    this.#folder = folder;
    this.#file = join(folder, fileName);
  }

  async load(): Promise<AuthorityState | undefined> {
    let text: string;
    try {
      const { mode } = await stat(this.#file);
      if ((mode & 0o077) !== 0) {
        throw new MeshError(
          "MESH_AUTHORITY_EXPOSED",
          `${this.#file} holds the mesh's root key and others may use it; chmod 600`,
        );
      }
      text = await readFile(this.#file, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      if (error instanceof MeshError) throw error;
      throw this.#unusable(messageOf(error), error);
    }
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch (error) {
      throw this.#unusable("is not JSON", error);
    }
    const parsed = fileSchema.safeParse(json);
    if (!parsed.success) throw this.#unusable(z.prettifyError(parsed.error), parsed.error);
    const { root, intermediate } = parsed.data;
    return { root, intermediate };
  }

  async create(state: AuthorityState): Promise<AuthorityState> {
    const draft = await this.#draft(state);
    try {
      // link(2) fails when the name exists, atomically: of all who start at once one wins.
      await link(draft, this.#file);
      await this.#sync();
      return state;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw this.#unusable(messageOf(error), error);
    } finally {
      await rm(draft, { force: true });
    }
    const first = await this.load();
    if (first === undefined) throw this.#unusable("vanished while it was being read");
    return first;
  }

  async replace(state: AuthorityState): Promise<void> {
    await rename(await this.#draft(state), this.#file);
    await this.#sync();
  }

  /** The state in a file of its own, on disk before anything points to it. */
  async #draft({ root, intermediate }: AuthorityState): Promise<string> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    await this.#removeStaleDrafts();
    const path = join(this.#folder, `${draftPrefix}${randomUUID()}`);
    const file = await open(path, "wx", 0o600);
    try {
      await file.writeFile(`${JSON.stringify({ version: 1, root, intermediate }, null, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    return path;
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

  #unusable(why: string, cause?: unknown): MeshError {
    return new MeshError("MESH_AUTHORITY_UNUSABLE", `the authority's state ${this.#file} cannot be used: ${why}`, {
      cause,
    });
  }
}
