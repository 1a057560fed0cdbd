/**
 * A person's way into a cluster: for each ready pod of control a port of this machine that leads, by port-forward through the API
 * server, to its listener; a token that control accepts; and the roots that its certificate must lead to. Loaded only by the verbs that
 * need it, because it loads the Kubernetes client.
 *
 * The token is one that was made for control alone, of the service account `warren-operator`, where the person may ask for such tokens.
 * Otherwise it is the kubeconfig user's own, which control will ask the API about; who may do little shows a token that can do little.
 */
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { z } from "zod";
import { MeshError, messageOf } from "../../lib/errors.ts";
import {
  defaultMeshNamespace,
  type OperatorTarget,
  type OperatorTunnel,
  type OperatorTunnelOptions,
} from "../../xds/operator-target.ts";
import { ApiError, isApiError } from "./api.ts";
import { ApiClient, apiClientDefaults } from "./api-client.ts";
import { operatorAudience } from "./operator-review.ts";
import { rootConfigMap, rootKey } from "./root-publisher.ts";
import { apiPath } from "./watched-kinds.ts";

/** What control's pods are labelled with. */
export const controlSelector = "app.kubernetes.io/name=warren-control";
export const operatorAccount = "warren-operator";
const controlPort = 15012;
const tokenSeconds = 3600;

const podsSchema = z.looseObject({
  items: z.array(
    z.looseObject({
      metadata: z.looseObject({
        name: z.string(),
        namespace: z.string().nullish(),
        deletionTimestamp: z.string().nullish(),
      }),
      status: z
        .looseObject({ conditions: z.array(z.looseObject({ type: z.string(), status: z.string() })).nullish() })
        .nullish(),
    }),
  ),
});
const tokenSchema = z.looseObject({ status: z.looseObject({ token: z.string().min(1) }) });
const rootSchema = z.looseObject({ data: z.looseObject({ [rootKey]: z.string().min(1) }) });

/** `kubeconfig` only for tests: people have one in the usual place, or name it in KUBECONFIG. */
export async function openOperatorTunnel(
  {
    context = "",
    controlNamespace = defaultMeshNamespace,
    kubeconfig = "",
  }: OperatorTunnelOptions & { kubeconfig?: string },
  signal: AbortSignal,
): Promise<OperatorTunnel> {
  const api = new ApiClient({ ...apiClientDefaults, kubeconfig, context });
  const where = `${api.origin}, namespace ${controlNamespace}`;
  const pods = await readyPods(api, controlNamespace, signal).catch((error: unknown) => {
    throw unreachable(`control's pods cannot be listed in ${where}: ${messageOf(error)}`, error);
  });
  if (pods.length === 0) {
    const others = await homesOfControl(api, signal);
    throw unreachable(
      `no pod of control (${controlSelector}) is ready in ${where}; ${adviceOf(others, controlNamespace)}`,
    );
  }
  const root = await publishedRoot(api, controlNamespace, signal).catch((error: unknown) => {
    throw unreachable(`the roots (ConfigMap ${rootConfigMap}) cannot be read in ${where}: ${messageOf(error)}`, error);
  });
  const token = await operatorToken(api, controlNamespace, signal).catch((error: unknown) => {
    throw unreachable(`no token for control can be had in ${where}: ${messageOf(error)}`, error);
  });
  const doors: Door[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(doors.map((door) => door.close()));
  };
  try {
    for (const name of pods) doors.push(await Door.open(api, { namespace: controlNamespace, name, port: controlPort }));
  } catch (error) {
    await close();
    throw error;
  }
  const targets = doors.map(
    ({ port }): OperatorTarget => ({ address: `127.0.0.1:${port}`, token, root, serverName: "" }),
  );
  return { targets, namespace: api.namespace, origin: api.origin, close };
}

async function readyPods(api: ApiClient, namespace: string, signal: AbortSignal): Promise<string[]> {
  const query = { labelSelector: controlSelector };
  const list = await api.call({ method: "GET", path: apiPath("v1", "pods", namespace), query }, signal);
  return podsSchema
    .parse(list)
    .items.filter(({ metadata }) => !metadata.deletionTimestamp)
    .filter(({ status }) => status?.conditions?.some(({ type, status: is }) => type === "Ready" && is === "True"))
    .map(({ metadata }) => metadata.name);
}

/** Empty where pods of the whole cluster are not for this user to list. */
async function homesOfControl(api: ApiClient, signal: AbortSignal): Promise<string[]> {
  const query = { labelSelector: controlSelector };
  try {
    const list = await api.call({ method: "GET", path: apiPath("v1", "pods"), query }, signal);
    return [...new Set(podsSchema.parse(list).items.map(({ metadata }) => metadata.namespace ?? ""))].sort();
  } catch {
    signal.throwIfAborted();
    return [];
  }
}

function adviceOf(homes: readonly string[], asked: string): string {
  if (homes.includes(asked)) return `its pods are there: see kubectl -n ${asked} get pods`;
  const [home] = homes;
  if (home === undefined)
    return "is Warren installed there? --mesh-namespace (WARREN_NAMESPACE) names another namespace";
  return `control runs in ${homes.join(", ")}: say --mesh-namespace ${home}, or set WARREN_NAMESPACE`;
}

async function publishedRoot(api: ApiClient, namespace: string, signal: AbortSignal): Promise<string> {
  const path = apiPath("v1", "configmaps", namespace, rootConfigMap);
  return rootSchema.parse(await api.call({ method: "GET", path }, signal)).data[rootKey];
}

async function operatorToken(api: ApiClient, namespace: string, signal: AbortSignal): Promise<string> {
  const path = `${apiPath("v1", "serviceaccounts", namespace, operatorAccount)}/token`;
  const spec = { audiences: [operatorAudience], expirationSeconds: tokenSeconds };
  const body = { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec };
  try {
    return tokenSchema.parse(await api.call({ method: "POST", path, body }, signal)).status.token;
  } catch (error) {
    if (!isApiError(error, 403) && !isApiError(error, 404)) throw error;
    const own = await api.bearerToken(signal);
    if (own !== undefined) return own;
    const why = `the kubeconfig's user has no token of its own, and may have none of ${namespace}/${operatorAccount}`;
    throw new ApiError(`${why}: ${messageOf(error)}`, { status: error.status, cause: error });
  }
}

/** A port of this machine; each connection to it is a port-forward of its own. */
class Door {
  readonly #server: Server;
  readonly #open = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
  }

  static async open(
    api: ApiClient,
    pod: { readonly namespace: string; readonly name: string; readonly port: number },
  ): Promise<Door> {
    const server = createServer({ pauseOnConnect: true });
    const door = new Door(server);
    server.on("connection", (socket) => {
      door.#open.add(socket);
      socket.on("error", () => {}).on("close", () => door.#open.delete(socket));
      // Whoever dialled learns that it is over; why, the next question to the cluster tells.
      api.portForward(pod, socket, socket).then(
        (forward) => {
          if (socket.destroyed) return forward.close();
          socket.on("close", () => forward.close());
          socket.resume();
        },
        () => socket.destroy(),
      );
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return door;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#open) socket.destroy();
    await closed;
  }
}

function unreachable(message: string, cause?: unknown): MeshError {
  return new MeshError("MESH_UNREACHABLE_CLUSTER", message, { cause });
}
