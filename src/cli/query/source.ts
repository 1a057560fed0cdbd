/**
 * Where the verbs that read objects take the cluster from: a folder of manifests, the running lab's rendered folder, or a Kubernetes API.
 */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { MeshError, messageOf } from "../../lib/errors.ts";
import { type MeshSettings, noAuthoritySettings } from "../../model/mesh.ts";
import { defaultMeshNamespace } from "../../xds/operator-target.ts";
import { meshNamespaceOption } from "../output/mesh-flags.ts";
import type { ClusterOptions, LiveObject, ManifestText } from "./cluster.ts";

export interface SourceFlags {
  readonly manifests?: string;
  readonly name?: string;
  readonly context?: string;
  readonly meshNamespace?: string;
  readonly namespace?: string;
  readonly trustDomain?: string;
  readonly rootNamespace?: string;
  readonly defaultAction?: MeshSettings["defaultAction"];
}

export interface ClusterSource extends ClusterOptions {
  readonly objects: readonly (ManifestText | LiveObject)[];
  /** In words, for messages. */
  readonly origin: string;
}

export function addSourceOptions(command: Command): Command {
  return command
    .option("--manifests <dir>", "read the cluster from this folder of manifests")
    .option("--context <context>", "of the kubeconfig (default: the running lab, else the current context)")
    .addOption(meshNamespaceOption())
    .option("--name <lab>", "which lab, when several are up")
    .option("-n, --namespace <namespace>", "of what names none (default: the current one of the lab or context)")
    .option("--trust-domain <domain>", "without a mesh to ask: its trust domain (default: cluster.local)", nonEmpty)
    .option(
      "--root-namespace <namespace>",
      "without a mesh to ask: the root namespace (default: where control runs)",
      nonEmpty,
    )
    .addOption(
      new Option("--default-action <action>", "without a mesh to ask: for workloads without an ALLOW policy").choices([
        "allow",
        "deny",
      ]),
    );
}

function nonEmpty(value: string): string {
  if (value === "") throw new InvalidArgumentError("It is empty.");
  return value;
}

/** Settings of a mesh about which nothing is known but what flags say. */
export function settingsOf({ trustDomain, rootNamespace, meshNamespace, defaultAction }: SourceFlags): MeshSettings {
  return {
    trustDomain: trustDomain ?? "cluster.local",
    trustDomainAliases: [],
    clusterDomain: "cluster.local",
    cluster: "Kubernetes",
    rootNamespace: rootNamespace ?? meshNamespace ?? defaultMeshNamespace,
    localTraffic: "mtls",
    defaultAction: defaultAction ?? "allow",
    deniedIdentities: [],
    ...noAuthoritySettings,
  };
}

/** Throws MESH_UNREACHABLE_… when there is nothing to read, which ends the program with 3. */
export async function openSource(flags: SourceFlags): Promise<ClusterSource> {
  if (flags.manifests !== undefined) {
    return {
      objects: readFolder(flags.manifests),
      settings: settingsOf(flags),
      defaultNamespace: flags.namespace ?? "default",
      origin: flags.manifests,
    };
  }
  if (flags.context === undefined) {
    const { hasKubeconfig } = await import("./mesh-client.ts");
    const kubeconfig = flags.name === undefined && hasKubeconfig(process.env);
    try {
      return await openLab(flags);
    } catch (error) {
      if (!(kubeconfig && error instanceof MeshError && error.code === "MESH_UNREACHABLE_LAB")) throw error;
    }
  }
  return openKubernetes(flags);
}

const listMs = 120_000;

async function openKubernetes(flags: SourceFlags): Promise<ClusterSource> {
  const [{ ApiClient, apiClientDefaults }, { listCluster }] = [
    await import("../../control/kubernetes/api-client.ts"),
    await import("./cluster-listing.ts"),
  ];
  const signal = AbortSignal.timeout(listMs);
  const api = new ApiClient({ ...apiClientDefaults, context: flags.context ?? "" });
  let objects: LiveObject[];
  try {
    objects = (await listCluster(api, signal)).map((live) => ({ live }));
  } catch (cause) {
    const why = `the objects of ${api.origin} cannot be listed: ${messageOf(cause)}`;
    throw new MeshError("MESH_UNREACHABLE_KUBERNETES", why, { cause });
  }
  return {
    objects,
    settings: await meshSettings(flags, signal),
    defaultNamespace: flags.namespace ?? api.namespace,
    origin: api.origin,
  };
}

/** Those that control tells its agents; the flags' where it does not run yet. */
async function meshSettings(flags: SourceFlags, signal: AbortSignal): Promise<MeshSettings> {
  const { connectMesh } = await import("./mesh-client.ts");
  try {
    const mesh = await connectMesh(
      {
        context: flags.context ?? "",
        ...(flags.meshNamespace === undefined ? {} : { meshNamespace: flags.meshNamespace }),
      },
      signal,
    );
    try {
      return (await mesh.mesh(signal)).settings;
    } finally {
      await mesh.close();
    }
  } catch (error) {
    const settings = settingsOf(flags);
    const taken = `trust domain ${settings.trustDomain}, root namespace ${settings.rootNamespace} and default ${settings.defaultAction} are taken instead`;
    process.stderr.write(`control's settings cannot be read, ${taken}: ${messageOf(error)}\n`);
    return settings;
  }
}

async function openLab(flags: SourceFlags): Promise<ClusterSource> {
  const [{ chooseLab, stateRoot }, { findLabs }, { currentNamespace }] = [
    await import("../../lab/verbs/choose.ts"),
    await import("../../lab/machine/state-folder.ts"),
    await import("../../lab/options.ts"),
  ];
  let folder: string;
  let id: string;
  try {
    ({ folder, id } = chooseLab(findLabs(stateRoot()), flags.name));
  } catch (cause) {
    if (!(cause instanceof MeshError)) throw cause;
    if (cause.code === "MESH_LAB_AMBIGUOUS") throw new MeshError("MESH_CONFIG_LAB", cause.message, { cause });
    throw new MeshError(
      "MESH_UNREACHABLE_LAB",
      `${cause.message}, or name a folder (--manifests DIR) or a cluster (--context NAME)`,
      { cause },
    );
  }
  return {
    objects: readFolder(join(folder, "cluster")),
    settings: (await agentSettings(folder)) ?? settingsOf({}),
    defaultNamespace: flags.namespace ?? currentNamespace,
    origin: `lab ${id}`,
  };
}

/** What the lab's agents were configured with; undefined in a lab without a mesh. */
async function agentSettings(folder: string): Promise<MeshSettings | undefined> {
  const nodes = join(folder, "nodes");
  const configs = list(nodes).map((node) => join(nodes, node, "agent.yaml"));
  const config = configs.find((path) => statSync(path, { throwIfNoEntry: false })?.isFile() === true);
  if (config === undefined) return undefined;
  const [{ loadConfig }, { nodeConfigSchema }] = [
    await import("../../lib/config.ts"),
    await import("../../node/config.ts"),
  ];
  const { value } = await loadConfig(nodeConfigSchema, { args: ["--config", config], environment: {} });
  const { defaultNamespace: _, ...settings } = value.mesh;
  return { ...settings, localTraffic: value.localTraffic, ...noAuthoritySettings };
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

/** The manifests of a folder as control reads them: its own files, in order of their names. */
function readFolder(folder: string): ManifestText[] {
  try {
    return readdirSync(folder)
      .filter((name) => /^[^.].*\.(?:ya?ml|json)$/.test(name))
      .sort()
      .flatMap((name) => {
        const file = join(folder, name);
        const text = readIfThere(file);
        return text === undefined ? [] : [{ file, text }];
      });
  } catch (cause) {
    throw new MeshError(
      "MESH_UNREACHABLE_MANIFESTS",
      `cannot read the manifests in ${folder}: ${messageOf(cause)}; check the folder and its permissions`,
      { cause },
    );
  }
}

/** A live folder's files come and go between listing and reading. */
function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw thrown;
  }
}

/** Files and folders that `-f` names, `-` being standard input. Throws a usage error that names what can't be read. */
export function readFiles(paths: readonly string[]): ManifestText[] {
  return paths.flatMap((path) => {
    try {
      if (path === "-") return [{ file: "-", text: readFileSync(0, "utf8") }];
      if (!statSync(path).isDirectory()) return [{ file: path, text: readFileSync(path, "utf8") }];
    } catch (cause) {
      throw new MeshError("MESH_CONFIG_FILE", `cannot read ${path}: ${messageOf(cause)}; check the path after -f`, {
        cause,
      });
    }
    return readFolder(path);
  });
}
