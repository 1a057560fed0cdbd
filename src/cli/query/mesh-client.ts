/**
 * How the verbs that look at a running mesh reach it: they talk to control alone, which asks the agents. Where it is found: flags, else
 * the lab that runs on this machine, else the kubeconfig. Every replica of control is asked and the answers are merged, since a replica
 * knows only the agents connected to it.
 */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { MeshError, messageOf } from "../../lib/errors.ts";
import type { MeshIndex } from "../../mesh/mesh-index.ts";
import { createControlClient } from "../../xds/control-client.ts";
import {
  type Control,
  GetControlRequestSchema,
  GetMeshRequestSchema,
  OperatorService,
} from "../../xds/gen/warren/operator/v1/operator_pb.ts";
import { grpcMethod } from "../../xds/grpc-service.ts";
import { defaultMeshNamespace, type OperatorTarget } from "../../xds/operator-target.ts";
import { Asked, type AskKind, type AskOptions } from "./asked.ts";
import { callUnary, type Replica, streamOf } from "./replica.ts";

export interface MeshConnectOptions {
  /** `host:port` or `unix:/path` of control; with it the two files are required. */
  readonly control?: string;
  readonly tokenFile?: string;
  readonly root?: string;
  /** Which lab, when several are up. */
  readonly name?: string;
  /** Of the kubeconfig; given, no lab is looked for. */
  readonly context?: string;
  /** Where control runs in a cluster. Absent: where the manifests put it. */
  readonly meshNamespace?: string;
  /** Milliseconds that an answer may take; a connection may take twice as long. */
  readonly timeout?: number;
}

const defaultTimeoutMs = 5000;

/** Large listings come in pages; a page is far below this. */
const largestMessage = 64 * 1024 * 1024;

const getControl = grpcMethod(OperatorService.method.getControl);
const getMesh = grpcMethod(OperatorService.method.getMesh);

export class MeshClient {
  /** In words, for messages. */
  readonly origin: string;
  /** Of what names none. */
  readonly defaultNamespace: string;
  /** What runs the cluster: what `enroll` and `uninstall` change objects through. */
  readonly ground: MeshGround;
  readonly #replicas: readonly Replica[];
  readonly #close: () => Promise<void>;

  constructor(found: FoundMesh, { timeout = defaultTimeoutMs }: Pick<MeshConnectOptions, "timeout"> = {}) {
    this.origin = found.origin;
    this.defaultNamespace = found.namespace;
    this.ground = found.ground;
    this.#close = found.close;
    this.#replicas = found.targets.map((target) => ({
      target,
      client: createControlClient({ ...target, largestMessage }),
      connecting: { patienceMs: 2 * timeout, deadline: undefined },
    }));
  }

  /** For services that any one replica answers for all. */
  get replicas(): readonly Replica[] {
    return this.#replicas;
  }

  /** Asks the agents; iterate the answer, then look at its `outcome`. */
  ask(kind: AskKind, options: AskOptions, signal: AbortSignal): Asked {
    return new Asked(this.#replicas, kind, options, signal);
  }

  /** Every replica of control as it describes itself; those that don't answer are left out, and it throws when none does. */
  async controls(signal: AbortSignal): Promise<Control[]> {
    const answers = await Promise.allSettled(
      this.#replicas.map((replica) => callUnary(replica, getControl, create(GetControlRequestSchema), signal)),
    );
    const found = answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : []));
    const [first] = answers;
    if (found.length === 0 && first?.status === "rejected") throw first.reason;
    return found;
  }

  /** The whole mesh as agents are told it. */
  async mesh(signal: AbortSignal): Promise<MeshIndex> {
    const [{ DiscoveryState }, { readResponse }, { settingsOf }] = [
      await import("../../xds/client/discovery-state.ts"),
      await import("../../xds/client/response-reader.ts"),
      await import("./source.ts"),
    ];
    const request = create(GetMeshRequestSchema);
    let failure: unknown;
    for (const replica of this.#replicas) {
      const state = new DiscoveryState(settingsOf({}), "");
      try {
        for await (const { response } of streamOf(replica, getMesh, request, signal))
          await state.apply(readResponse(response));
        return state.index;
      } catch (error) {
        failure ??= error;
      }
    }
    throw failure;
  }

  async close(): Promise<void> {
    for (const { client } of this.#replicas) client.close();
    await this.#close();
  }
}

/** Where objects of the cluster are changed. */
export type MeshGround =
  | { readonly kind: "lab"; readonly name: string; readonly folder: string }
  | { readonly kind: "kubernetes"; readonly context: string | undefined; readonly meshNamespace: string }
  | { readonly kind: "control" };

export interface FoundMesh {
  readonly targets: readonly OperatorTarget[];
  readonly namespace: string;
  readonly origin: string;
  readonly ground: MeshGround;
  readonly close: () => Promise<void>;
}

/** Throws MESH_UNREACHABLE_… when there is no mesh to talk to, which ends the program with 3. */
export async function connectMesh(options: MeshConnectOptions, signal: AbortSignal): Promise<MeshClient> {
  return new MeshClient(await findMesh(options, signal), options);
}

async function findMesh(options: MeshConnectOptions, signal: AbortSignal): Promise<FoundMesh> {
  if (options.control !== undefined) return fromFlags(options.control, options);
  if (options.context !== undefined) return fromKubernetes(options, signal);
  const lab = await fromLab(options.name);
  if (lab !== undefined) return lab;
  if (!hasKubeconfig(process.env)) throw nothingFound();
  return fromKubernetes(options, signal);
}

async function fromFlags(address: string, { tokenFile, root }: MeshConnectOptions): Promise<FoundMesh> {
  if (tokenFile === undefined || root === undefined)
    throw new MeshError("MESH_CONFIG_CONTROL", "--control needs --token-file and --root: who asks, and whom to trust");
  const read = async (path: string, flag: string) => {
    try {
      return await readFile(path, "utf8");
    } catch (cause) {
      throw new MeshError("MESH_CONFIG_CONTROL", `cannot read ${flag} ${path}: ${messageOf(cause)}`, { cause });
    }
  };
  const [token, pem] = [await read(tokenFile, "--token-file"), await read(root, "--root")];
  return {
    targets: [{ address, token: token.trim(), root: pem, serverName: "" }],
    namespace: "default",
    origin: address,
    ground: { kind: "control" },
    close: async () => {},
  };
}

/** Undefined when no lab is up. */
async function fromLab(name: string | undefined): Promise<FoundMesh | undefined> {
  const [{ chooseLab, stateRoot }, { findLabs }, { currentNamespace }, door] = [
    await import("../../lab/verbs/choose.ts"),
    await import("../../lab/machine/state-folder.ts"),
    await import("../../lab/options.ts"),
    await import("../../lab/operator-door.ts"),
  ];
  const labs = findLabs(stateRoot());
  if (name === undefined && !labs.some(({ alive }) => alive)) return undefined;
  let lab: ReturnType<typeof chooseLab>;
  try {
    lab = chooseLab(labs, name);
  } catch (cause) {
    throw new MeshError("MESH_CONFIG_LAB", messageOf(cause), { cause });
  }
  const { id, folder } = lab;
  const read = async (path: string) => {
    try {
      return await readFile(path, "utf8");
    } catch (cause) {
      throw new MeshError("MESH_UNREACHABLE_LAB", `lab ${id} has no control plane yet: ${messageOf(cause)}`, { cause });
    }
  };
  const [token, root] = [await read(door.operatorTokenFile(folder)), await read(door.rootCertificateFile(folder))];
  return {
    targets: door.operatorSockets(folder).map((path) => ({ address: `unix:${path}`, token, root, serverName: "" })),
    namespace: currentNamespace,
    origin: `lab ${id}`,
    ground: { kind: "lab", name: id, folder },
    close: async () => {},
  };
}

async function fromKubernetes(
  { context, meshNamespace = defaultMeshNamespace }: MeshConnectOptions,
  signal: AbortSignal,
): Promise<FoundMesh> {
  // The Kubernetes client is large: only those who need a cluster wait for it.
  const { openOperatorTunnel } = await import("../../control/kubernetes/operator-tunnel.ts");
  const tunnel = await openOperatorTunnel(
    { ...(context === undefined ? {} : { context }), controlNamespace: meshNamespace },
    signal,
  );
  const { targets, namespace, origin } = tunnel;
  const ground: MeshGround = { kind: "kubernetes", context, meshNamespace };
  return { targets, namespace, origin, ground, close: () => tunnel.close() };
}

/** As kubectl looks for one. */
export function hasKubeconfig({ KUBECONFIG: named, HOME: home }: NodeJS.ProcessEnv): boolean {
  if (named !== undefined && named !== "") return true;
  return home !== undefined && existsSync(join(home, ".kube", "config"));
}

function nothingFound(): MeshError {
  return new MeshError(
    "MESH_UNREACHABLE_NOTHING",
    "no lab is up and no kubeconfig is here (KUBECONFIG, ~/.kube/config): make a lab (warren lab up), or name control (--control, --token-file, --root)",
  );
}
