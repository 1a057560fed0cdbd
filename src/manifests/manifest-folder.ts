/** The files of a folder as objects; re-reads only what changed, and keeps the last good objects of what can't be read. */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { MeshError, messageOf } from "../lib/errors.ts";
import { type ReadProblem, readObjects } from "./object-reader.ts";
import type { KubernetesObject } from "./translate/metadata.ts";

export interface ManifestProblem {
  /** Name within the folder. */
  readonly file: string;
  /** `Kind namespace/name` as far as known; empty when the file as a whole is meant. */
  readonly object: string;
  readonly field: string;
  readonly message: string;
}

/** An object and the file that it came from. */
export interface FiledObject {
  readonly file: string;
  readonly object: KubernetesObject;
}

export interface FolderScan {
  /** By `Kind namespace/name`; an object whose text did not change is the same value as in the scan before. */
  readonly objects: ReadonlyMap<string, FiledObject>;
  readonly problems: readonly ManifestProblem[];
  /** Something looks half-written: scan again soon. */
  readonly unsettled: boolean;
}

interface FileState {
  readonly version: string;
  readonly inode: bigint;
  readonly objects: ReadonlyMap<string, KubernetesObject>;
  readonly problems: readonly ReadProblem[];
}

export class ManifestFolder {
  readonly #folder: string;
  readonly #keyOf: (object: KubernetesObject) => string;
  #files: ReadonlyMap<string, FileState> = new Map();
  /** Versions in which objects vanished from a file that was written in place, seen once. */
  #doubted = new Map<string, string>();

  constructor(folder: string, keyOf: (object: KubernetesObject) => string) {
    this.#folder = folder;
    this.#keyOf = keyOf;
  }

  /** Throws only when the folder itself can't be listed. */
  async scan(): Promise<FolderScan> {
    const files = new Map<string, FileState>();
    const problems: ManifestProblem[] = [];
    const doubted = new Map<string, string>();
    for (const file of await this.#list()) {
      const before = this.#files.get(file);
      try {
        const read = await this.#read(file, before);
        if (read === undefined) continue;
        if (this.#mayBeHalfWritten(file, before, read)) {
          doubted.set(file, read.version);
          files.set(file, before ?? read);
        } else {
          files.set(file, read);
        }
      } catch (thrown) {
        problems.push({ file, object: "", field: "", message: `cannot be read: ${messageOf(thrown)}` });
        if (before !== undefined) files.set(file, before);
      }
    }
    this.#files = files;
    this.#doubted = doubted;
    return { objects: merge(files, problems), problems, unsettled: doubted.size > 0 };
  }

  async #list(): Promise<string[]> {
    try {
      const names = await readdir(this.#folder);
      return names.filter((name) => /^[^.].*\.(?:ya?ml|json)$/.test(name)).sort();
    } catch (cause) {
      throw new MeshError(
        "MESH_MANIFESTS_UNREADABLE",
        `cannot list the manifests in ${this.#folder}: ${messageOf(cause)}; check the folder and its permissions`,
        { cause },
      );
    }
  }

  async #read(file: string, before: FileState | undefined): Promise<FileState | undefined> {
    const path = join(this.#folder, file);
    const info = await stat(path, { bigint: true }).catch((thrown: NodeJS.ErrnoException) => {
      // Deleted since the folder was listed, or a symlink's target was.
      if (thrown.code === "ENOENT") return undefined;
      throw thrown;
    });
    if (info === undefined || !info.isFile()) return undefined;
    const version = `${info.ino} ${info.size} ${info.mtimeNs} ${info.ctimeNs}`;
    if (before?.version === version) return before;
    const { objects: list, problems } = readObjects(await readFile(path, "utf8"));
    const objects = new Map<string, KubernetesObject>();
    const twins: ReadProblem[] = [];
    for (const object of list) {
      const key = this.#keyOf(object);
      if (objects.has(key))
        twins.push({ object: key, field: "", message: "stands twice in this file; the first counts" });
      else objects.set(key, reuse(before?.objects.get(key), object));
    }
    // A broken document hides objects that were here before: they stay as they were.
    if (problems.length > 0) {
      for (const [key, object] of before?.objects ?? []) if (!objects.has(key)) objects.set(key, object);
    }
    return { version, inode: info.ino, objects, problems: [...problems, ...twins] };
  }

  /**
   * A file that is truncated and then written is short for a moment. Objects that vanish from a file written in place are let go only
   * when a second look finds the same version; a file that was replaced by rename is complete at once.
   */
  #mayBeHalfWritten(file: string, before: FileState | undefined, read: FileState): boolean {
    if (before === undefined || before.inode !== read.inode || this.#doubted.get(file) === read.version) return false;
    return [...before.objects.keys()].some((key) => !read.objects.has(key));
  }
}

function reuse(before: KubernetesObject | undefined, object: KubernetesObject): KubernetesObject {
  return before !== undefined && isDeepStrictEqual(before.raw, object.raw) ? before : object;
}

function merge(files: ReadonlyMap<string, FileState>, problems: ManifestProblem[]): Map<string, FiledObject> {
  const objects = new Map<string, FiledObject>();
  for (const [file, state] of files) {
    for (const problem of state.problems) problems.push({ file, ...problem });
    for (const [key, object] of state.objects) {
      const other = objects.get(key);
      if (other === undefined) objects.set(key, { file, object });
      else problems.push({ file, object: key, field: "", message: `stands in ${other.file} too, which counts` });
    }
  }
  return objects;
}
