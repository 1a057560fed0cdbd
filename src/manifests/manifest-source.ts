/**
 * Mesh state from a folder of ordinary Kubernetes manifests: the source of `warren control --manifests`, of the lab and of the demo.
 * A change of a file is in force some milliseconds later, as one change of the view. What cannot be read leaves the last good
 * version in force, object by object, and stands in `problems()` until it is repaired.
 */

import type { MeshIndex } from "../mesh/mesh-index.ts";
import type { MeshChange, MeshSettings, MeshSource } from "../model/mesh.ts";
import { ClusterState, type PieceKind } from "./cluster-state.ts";
import { FolderWatcher } from "./folder-watcher.ts";
import { type FiledObject, ManifestFolder, type ManifestProblem } from "./manifest-folder.ts";
import type { KubernetesObject } from "./translate/metadata.ts";
import { pieceKind, translate } from "./translate/translate.ts";

export type { ManifestProblem } from "./manifest-folder.ts";

export interface ManifestSourceOptions {
  readonly folder: string;
  readonly settings: MeshSettings;
  /** Namespace of objects that name none. */
  readonly defaultNamespace: string;
  /** Quiet time after a file event, milliseconds. */
  readonly debounce: number;
  /** Time between rescans for what inotify misses, milliseconds. */
  readonly rescan: number;
  /** How soon a file that looks half-written is looked at again, milliseconds. */
  readonly settle: number;
}

export const manifestDefaults = { defaultNamespace: "default", debounce: 5, rescan: 5000, settle: 50 } as const;

export interface ManifestSource extends MeshSource {
  readonly view: MeshIndex;
  /** Everything that is wrong with the folder now. */
  problems(): readonly ManifestProblem[];
  onProblems(listener: (problems: readonly ManifestProblem[]) => void): () => void;
  setSettings(settings: MeshSettings): void;
  /** Looks at the folder now; resolves when what it found is in force. */
  refresh(): Promise<void>;
}

export function createManifestSource(
  options: Pick<ManifestSourceOptions, "folder" | "settings"> & Partial<ManifestSourceOptions>,
): ManifestSource {
  return new FolderSource({ ...manifestDefaults, ...options });
}

/** What of an object is in force. */
interface Applied {
  readonly filed: FiledObject;
  readonly kind: PieceKind;
  /** Some version of it is in the cluster state. */
  readonly inForce: boolean;
  readonly problems: readonly ManifestProblem[];
}

class FolderSource implements ManifestSource {
  readonly #options: ManifestSourceOptions;
  readonly #state: ClusterState;
  readonly #folder: ManifestFolder;
  readonly #watcher: FolderWatcher;
  #applied: ReadonlyMap<string, Applied> = new Map();
  #problems: readonly ManifestProblem[] = [];
  readonly #problemListeners = new Set<(problems: readonly ManifestProblem[]) => void>();
  #scan: Promise<void> | undefined;
  #scanAgain = false;
  #stopped = false;

  constructor(options: ManifestSourceOptions) {
    this.#options = options;
    this.#state = new ClusterState(options.settings);
    this.#folder = new ManifestFolder(options.folder, (object) => this.#keyOf(object));
    this.#watcher = new FolderWatcher(options.folder, () => this.#refreshQuietly(), options);
  }

  get view(): MeshIndex {
    return this.#state.index;
  }

  onChange(listener: (change: MeshChange) => void): () => void {
    return this.#state.index.onChange(listener);
  }

  onProblems(listener: (problems: readonly ManifestProblem[]) => void): () => void {
    this.#problemListeners.add(listener);
    return () => this.#problemListeners.delete(listener);
  }

  async start(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#stopped = false;
    // Watching first: nothing that happens during the first scan is missed.
    this.#watcher.start();
    try {
      await this.refresh();
      signal.throwIfAborted();
    } catch (thrown) {
      await this.stop();
      throw thrown;
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#watcher.stop();
    await this.#scan?.catch(() => undefined);
  }

  problems(): readonly ManifestProblem[] {
    return this.#problems;
  }

  setSettings(settings: MeshSettings): void {
    this.#state.setSettings(settings);
  }

  /** One scan at a time; asked for during one, another follows and both callers wait for it. */
  refresh(): Promise<void> {
    this.#scanAgain = true;
    this.#scan ??= this.#scanUntilQuiet().finally(() => {
      this.#scan = undefined;
    });
    return this.#scan;
  }

  async #scanUntilQuiet(): Promise<void> {
    while (this.#scanAgain) {
      this.#scanAgain = false;
      const scan = await this.#folder.scan();
      if (this.#stopped) return;
      this.#apply(scan.objects, scan.problems);
      if (scan.unsettled) this.#watcher.again(this.#options.settle);
    }
  }

  #refreshQuietly(): void {
    this.refresh().catch((thrown: unknown) => {
      // The folder is away: what was last read stays in force.
      const message = thrown instanceof Error ? thrown.message : String(thrown);
      this.#setProblems([{ file: "", object: "", field: "", message }]);
    });
  }

  #keyOf({ apiVersion, kind, metadata }: KubernetesObject): string {
    const known = pieceKind(apiVersion, kind);
    const shown = known === undefined ? `${kind}.${apiVersion}` : known;
    const namespace =
      known === "Namespace" || known === "Node" ? "" : `${metadata.namespace ?? this.#options.defaultNamespace}/`;
    return `${shown} ${namespace}${metadata.name}`;
  }

  #apply(objects: ReadonlyMap<string, FiledObject>, scanProblems: readonly ManifestProblem[]): void {
    const applied = new Map<string, Applied>();
    for (const [key, filed] of objects) {
      const kind = pieceKind(filed.object.apiVersion, filed.object.kind);
      if (kind === undefined) continue;
      const before = this.#applied.get(key);
      const unchanged =
        before !== undefined && before.filed.object === filed.object && before.filed.file === filed.file;
      applied.set(key, unchanged ? before : this.#applyObject(key, kind, filed, before?.inForce ?? false));
    }
    for (const [key, { filed, kind }] of this.#applied) {
      if (!applied.has(key))
        this.#state.delete(this.#namespaceOf(kind, filed.object), filed.object.metadata.name, kind);
    }
    this.#applied = applied;
    this.#state.flush();
    this.#setProblems([...scanProblems, ...[...applied.values()].flatMap(({ problems }) => problems)]);
  }

  #applyObject(key: string, kind: PieceKind, filed: FiledObject, wasInForce: boolean): Applied {
    const { object, file } = filed;
    const namespace = this.#namespaceOf(kind, object);
    const translation = translate(kind, object, namespace);
    const problems = translation.problems.map((problem): ManifestProblem => ({ file, object: key, ...problem }));
    const { name } = object.metadata;
    let inForce = true;
    if (translation.kind === "ok") this.#state.set(namespace, name, translation.value);
    else if (translation.kind === "ignored") {
      this.#state.delete(namespace, name, kind);
      inForce = false;
    } else if (!wasInForce && translation.otherwise !== undefined) {
      this.#state.set(namespace, name, translation.otherwise);
      // The safe reading gives way to the next version, good or bad.
      inForce = false;
    } else {
      inForce = wasInForce;
    }
    return { filed, kind, inForce, problems };
  }

  #namespaceOf(kind: PieceKind, object: KubernetesObject): string {
    return kind === "Namespace" || kind === "Node" ? "" : (object.metadata.namespace ?? this.#options.defaultNamespace);
  }

  #setProblems(problems: readonly ManifestProblem[]): void {
    const changed = JSON.stringify(problems) !== JSON.stringify(this.#problems);
    this.#problems = problems;
    if (changed) for (const listener of this.#problemListeners) listener(problems);
  }
}
