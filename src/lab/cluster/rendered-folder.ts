/**
 * The cluster as a folder of ordinary manifests, which agents and control watch. A file appears, changes and goes by one rename or
 * unlink, so that a reader never sees half an object.
 */
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import type { ClusterObject } from "./objects.ts";

export class RenderedFolder {
  readonly path: string;
  readonly #drafts: string;
  readonly #written = new Map<string, ClusterObject>();

  /** `drafts` is on the same file system, outside the watched folder. */
  constructor(path: string, drafts: string) {
    this.path = path;
    this.#drafts = drafts;
    mkdirSync(path, { recursive: true });
    mkdirSync(drafts, { recursive: true });
  }

  /** Objects are never changed in place: another object under a key is another state. */
  write(objects: Iterable<ClusterObject>): void {
    const stale = new Set(this.#written.keys());
    for (const object of objects) {
      const file = fileName(object);
      stale.delete(file);
      if (this.#written.get(file) === object) continue;
      const draft = join(this.#drafts, file);
      writeFileSync(draft, stringify(object, { aliasDuplicateObjects: false, lineWidth: 0 }));
      renameSync(draft, join(this.path, file));
      this.#written.set(file, object);
    }
    for (const file of stale) {
      rmSync(join(this.path, file), { force: true });
      this.#written.delete(file);
    }
  }
}

/** Names hold no underscores, so that one separates them without doubt. */
export function fileName({ kind, metadata }: ClusterObject): string {
  return `${[kind.toLowerCase(), metadata.namespace ?? "", metadata.name].filter(Boolean).join("_")}.yaml`;
}
