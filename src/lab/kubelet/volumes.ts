/** Volumes of a pod: files that the lab writes, and the script lines that mount them in the pod's own mount namespace. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MeshError } from "../../lib/errors.ts";
import type { ConfigMap, Pod } from "../cluster/objects.ts";

/** Mount points that this machine does not have are made below here, on a file system that only the pod sees. */
const privateRoot = "/srv";

export interface VolumeMounts {
  /** Folders to make and files to write before the script runs. */
  readonly sources: readonly { readonly folder: string; readonly files: Readonly<Record<string, string>> }[];
  readonly script: string;
}

export function planVolumes(
  pod: Pod,
  folder: string,
  configMap: (name: string) => ConfigMap | undefined,
  exists: (path: string) => boolean = existsSync,
): VolumeMounts {
  const sources = new Map<string, { folder: string; files: Record<string, string> }>();
  const mounts = new Map<string, string>();
  for (const container of [...pod.spec.initContainers, ...pod.spec.containers])
    for (const { name, mountPath } of container.volumeMounts) {
      const source = join(folder, name);
      if ((mounts.get(mountPath) ?? source) !== source)
        throw problem(pod, `mounts two volumes at ${mountPath}; containers of one lab pod see the same files`);
      if (!exists(mountPath) && !mountPath.startsWith(`${privateRoot}/`))
        throw problem(pod, `mounts ${name} at ${mountPath}, which is not there; use a path below ${privateRoot}`);
      mounts.set(mountPath, source);
      sources.set(name, { folder: source, files: filesOf(pod, name, configMap) });
    }
  const isPrivate = (path: string) => path.startsWith(`${privateRoot}/`);
  const lines = [...mounts].flatMap(([path, source]) => [
    ...(isPrivate(path) ? [`mkdir -p ${shellQuoted(path)}`] : []),
    `mount --bind ${shellQuoted(source)} ${shellQuoted(path)}`,
  ]);
  if ([...mounts.keys()].some(isPrivate)) lines.unshift(`mount -t tmpfs -o size=16m tmpfs ${privateRoot}`);
  return { sources: [...sources.values()], script: lines.join("\n") };
}

export function writeVolumes({ sources }: VolumeMounts): void {
  for (const { folder, files } of sources) {
    mkdirSync(folder, { recursive: true });
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  }
}

function filesOf(pod: Pod, name: string, configMap: (name: string) => ConfigMap | undefined): Record<string, string> {
  const volume = pod.spec.volumes.find((candidate) => candidate.name === name);
  if (volume?.emptyDir !== undefined) return {};
  if (volume?.configMap === undefined)
    throw problem(pod, `mounts ${name}, which is no volume that the lab can make; it knows configMap and emptyDir`);
  const found = configMap(volume.configMap.name);
  if (found === undefined && volume.configMap.optional !== true)
    throw problem(pod, `mounts ConfigMap ${volume.configMap.name}, which is not there; apply it`);
  return found?.data ?? {};
}

function problem(pod: Pod, what: string): MeshError {
  return new MeshError("MESH_LAB_POD", `pod ${pod.metadata.name} ${what}`);
}

export function shellQuoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
