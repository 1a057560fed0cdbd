/**
 * Network configurations of the node, as container runtimes read them: the first file of the folder, by name, is the one in force
 * (libcni). Ours is that file: the plugins of the one that would be first without us, and `warren-cni` after them. A file of our own is
 * needed because the owners of others rewrite theirs whenever they start, and a plugin chained in there would be gone.
 */
import { MeshError, messageOf } from "../../lib/errors.ts";

/** Sorts before the usual names, of which the lowest are `02-` and `05-`. */
export const ownConflistName = "00-warren.conflist";
export const pluginType = "warren-cni";

export interface PluginSettings {
  readonly socket: string;
  readonly timeoutMs: number;
  readonly failOpen: boolean;
  readonly excludeNamespaces: readonly string[];
}

/** The name of the configuration that is in force without ours; undefined while the node has none. */
export function primaryConflist(names: readonly string[]): string | undefined {
  // A name that begins with a dot is somebody's draft.
  return names
    .filter((name) => /^[^.].*\.(conf|conflist|json)$/.test(name) && name !== ownConflistName)
    .sort((one, other) => (one < other ? -1 : 1))[0];
}

/** Our configuration, made from the primary's text. Throws MESH_CNI_PRIMARY when that is none. */
export function chained(name: string, primary: string, settings: PluginSettings): string {
  const list = conflistOf(name, primary);
  const { plugins } = list;
  const others = plugins.filter((plugin) => plugin["type"] !== pluginType);
  // The network's name stays the primary's: what its plugins keep of pods is filed under it.
  return `${JSON.stringify({ ...list, plugins: [...others, { type: pluginType, ...settings }] }, undefined, 2)}\n`;
}

interface Conflist extends Readonly<Record<string, unknown>> {
  readonly plugins: readonly Readonly<Record<string, unknown>>[];
}

function conflistOf(name: string, text: string): Conflist {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw wrong(name, `is no JSON: ${messageOf(error)}`);
  }
  if (!isObject(json)) throw wrong(name, "is no JSON object");
  if (typeof json["name"] !== "string" || json["name"] === "") throw wrong(name, "names no network");
  if (name.endsWith(".conflist")) {
    const { plugins } = json;
    if (!Array.isArray(plugins) || plugins.length === 0 || !plugins.every(isObject))
      throw wrong(name, "lists no plugins");
    return { ...json, plugins };
  }
  // One plugin's own configuration: a list of one, as libcni takes it, too.
  if (typeof json["type"] !== "string") throw wrong(name, "names no plugin");
  const { cniVersion, name: network, ...plugin } = json;
  return { ...(cniVersion === undefined ? {} : { cniVersion }), name: network, plugins: [plugin] };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function wrong(name: string, what: string): MeshError {
  return new MeshError(
    "MESH_CNI_PRIMARY",
    `the node's network configuration ${name} ${what}; its owner has to repair it`,
  );
}
