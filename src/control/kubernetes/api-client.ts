/**
 * The one file that imports the Kubernetes client: it costs about 80 MB, so only a process that talks to a cluster loads it. Of the
 * library we use how it finds and authenticates to a cluster, its watch, and its port forwarding; calls are plain HTTPS, so that a
 * refusal keeps its reason and its Retry-After, and every wait can be given up.
 */
import { request as httpRequest, type IncomingMessage, type RequestOptions } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { type Readable, Writable } from "node:stream";
import { KubeConfig, PortForward, type RequestContext, Watch } from "@kubernetes/client-node";
import { abortable } from "../../lib/abort.ts";
import { MeshError, messageOf } from "../../lib/errors.ts";
import { inCluster } from "../config.ts";
import { type ApiCall, ApiError, type ApiQuery, type KubernetesApi, type RawObject, type WatchEvent } from "./api.ts";

export interface ApiClientOptions {
  /** Path of a kubeconfig; `in-cluster`: the pod's own service account; empty: what kubectl would take. */
  readonly kubeconfig: string;
  /** Empty: the kubeconfig's current one. */
  readonly context: string;
  /** How long a call may take, answer included. */
  readonly callTimeoutMs: number;
  /** A watch that is silent for longer is taken for dead; servers send a bookmark about once a minute. */
  readonly watchSilenceMs: number;
}

export const apiClientDefaults = {
  kubeconfig: "",
  context: "",
  callTimeoutMs: 30_000,
  watchSilenceMs: 150_000,
} as const;

/** Idle connections are given up sooner than by an API server or a load balancer before it, so that few calls meet one that is gone. */
const idleConnectionMs = 45_000;

/** Larger than any object, and than any page of them. */
const largestAnswer = 256 * 1024 * 1024;

export class ApiClient implements KubernetesApi {
  readonly #config: KubeConfig;
  readonly #options: ApiClientOptions;
  /** Calls share connections: a page after the other and a review for each stream must not cost a handshake each. */
  readonly #connections = new HttpsAgent({ keepAlive: true, timeout: idleConnectionMs });

  /** Throws MESH_CONFIG_KUBERNETES when there is no cluster to be found where the options say. */
  constructor(options: ApiClientOptions) {
    this.#options = options;
    this.#config = findCluster(options);
  }

  /** The API's address, for messages. */
  get server(): string {
    return this.#config.getCurrentCluster()?.server ?? "";
  }

  /** In words, for messages. */
  get origin(): string {
    return `context ${this.#config.getCurrentContext()}`;
  }

  /** That the context names for objects that name none. */
  get namespace(): string {
    return this.#config.getContextObject(this.#config.getCurrentContext())?.namespace || "default";
  }

  async call(call: ApiCall, signal: AbortSignal): Promise<RawObject> {
    const what = `${call.method} ${call.path}`;
    const { status, headers, body } = await this.#exchange(call, "application/json", signal);
    const answer = parseObject(body);
    if (status >= 200 && status < 300 && answer !== undefined) return answer;
    throw refused(what, status, headers["retry-after"], answer);
  }

  /** What is no object: logs. `date` is the server's clock when it answered (RFC 9110 §6.6.1), in whole seconds. */
  async text(
    path: string,
    query: ApiQuery,
    signal: AbortSignal,
  ): Promise<{ readonly text: string; readonly date: string }> {
    const call = { method: "GET", path, query } as const;
    const { status, headers, body } = await this.#exchange(call, "text/plain, application/json", signal);
    if (status >= 200 && status < 300) return { text: body, date: headers.date ?? "" };
    throw refused(`GET ${path}`, status, headers["retry-after"], parseObject(body));
  }

  async #exchange(call: ApiCall, accept: string, signal: AbortSignal): Promise<Answer> {
    const what = `${call.method} ${call.path}`;
    const text = call.body === undefined ? undefined : JSON.stringify(call.body);
    const options = await this.#requestOptions(signal);
    const url = new URL(this.server + call.path);
    for (const [key, value] of Object.entries(call.query ?? {})) url.searchParams.set(key, value);
    const timeout = AbortSignal.timeout(this.#options.callTimeoutMs);
    return await send(url, what, AbortSignal.any([signal, timeout]), text, {
      ...options,
      method: call.method,
      headers: {
        ...headersOf(options),
        accept,
        ...(text === undefined ? {} : { "content-type": call.contentType ?? "application/json" }),
      },
    }).catch((error: unknown) => {
      signal.throwIfAborted();
      const why = timeout.aborted ? `no answer within ${this.#options.callTimeoutMs} ms` : messageOf(error);
      throw error instanceof ApiError ? error : unreachable(what, why, error);
    });
  }

  async watch(path: string, query: ApiQuery, onEvent: (event: WatchEvent) => void, signal: AbortSignal): Promise<void> {
    const what = `watch ${path}`;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const config = new WatchedConfig(this.#config);
    const watch = new SilenceBoundWatch(config, this.#options.watchSilenceMs);
    // Lines that were read but not parsed yet still come after the end; who resumes hears of them again.
    let over = false;
    const end = (error: unknown): void => {
      over = true;
      if (error === null || error === undefined) resolve();
      else reject(watchError(what, error));
    };
    const hear = (type: string, object: unknown): void => {
      if (signal.aborted || over) return;
      try {
        onEvent({ type, object: isObject(object) ? object : {} });
      } catch (error) {
        // The library swallows what its callback throws.
        over = true;
        reject(error);
      }
    };
    try {
      const begun = watch.watch(path, { ...query }, hear, end);
      // Connections that are not ours alone (a cluster whose certificate a public authority signed) are ended this way.
      begun.then(
        (controller) => signal.addEventListener("abort", () => controller.abort(), { once: true }),
        (error: unknown) => end(error),
      );
      await abortable(promise, signal);
    } finally {
      over = true;
      // Ends the watch in whatever state it is: the library can be told only once the server has answered.
      config.close();
    }
  }

  /** The bearer token that this kubeconfig's user shows; undefined for users of certificates. */
  async bearerToken(signal: AbortSignal): Promise<string | undefined> {
    const header = headersOf(await this.#requestOptions(signal))["Authorization"];
    return typeof header === "string" ? /^Bearer (\S+)$/.exec(header)?.[1] : undefined;
  }

  /**
   * Joins `input` and `output` to a port of a pod. Resolves when the connection is there; `output` is ended when it is over, and
   * destroyed with the reason when the port could not be reached.
   */
  async portForward(
    pod: { readonly namespace: string; readonly name: string; readonly port: number },
    input: Readable,
    output: Writable,
  ): Promise<{ close(): void }> {
    const forward = new PortForward(this.#config);
    const errors = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        if (chunk.length > 0) output.destroy(new ApiError(chunk.toString("utf8"), { status: 502 }));
        done();
      },
    });
    const opened: unknown = await forward
      .portForward(pod.namespace, pod.name, [pod.port], output, errors, input)
      .catch((error: unknown) => {
        const why = isObject(error) && typeof error["message"] === "string" ? error["message"] : messageOf(error);
        throw unreachable(`port-forward to ${pod.namespace}/${pod.name}`, why, error);
      });
    // The library hands out a websocket whose types it does not bring.
    const socket = opened as { addEventListener(type: "close", listener: () => void): void; close(): void };
    socket.addEventListener("close", () => output.end());
    return { close: () => socket.close() };
  }

  async #requestOptions(signal: AbortSignal): Promise<RequestOptions> {
    const options: RequestOptions = {};
    await abortable(this.#config.applyToHTTPSOptions(options), signal).catch((error: unknown) => {
      signal.throwIfAborted();
      throw unreachable("credentials for the Kubernetes API", messageOf(error), error);
    });
    // The library's agents keep no connection; those that go through a proxy are left as they are.
    const { server = "", proxyUrl } = this.#config.getCurrentCluster() ?? {};
    return proxyUrl === undefined && server.startsWith("https:") ? { ...options, agent: this.#connections } : options;
  }
}

function findCluster({ kubeconfig, context }: ApiClientOptions): KubeConfig {
  const config = new KubeConfig();
  try {
    if (kubeconfig === inCluster) {
      if (process.env["KUBERNETES_SERVICE_HOST"] === undefined) throw new Error("KUBERNETES_SERVICE_HOST is not set");
      config.loadFromCluster();
    } else if (kubeconfig !== "") config.loadFromFile(kubeconfig);
    else config.loadFromDefault();
    // What the library makes up when it has found nothing.
    if (config.getCurrentCluster()?.server === "http://localhost:8080") throw new Error("there is none");
  } catch (error) {
    const what = kubeconfig === inCluster ? "the cluster that this would be a pod of" : kubeconfig || "the kubeconfig";
    throw noCluster(`${what} cannot be found: ${messageOf(error)}`, error);
  }
  if (context !== "") {
    if (config.getContextObject(context) === null) {
      const known = config.getContexts().map(({ name }) => name);
      throw noCluster(`there is no context ${context}; there are ${known.join(", ") || "none"}`);
    }
    config.setCurrentContext(context);
  }
  if (config.getCurrentCluster() === null) throw noCluster("the kubeconfig's context names no cluster");
  return config;
}

function noCluster(why: string, cause?: unknown): MeshError {
  return new MeshError("MESH_CONFIG_KUBERNETES", why, { cause });
}

/** The cluster of another config, with hold of the connections of one watch: the library makes new ones each time and keeps them. */
class WatchedConfig extends KubeConfig {
  readonly #other: KubeConfig;
  readonly #close: (() => void)[] = [];
  #closed = false;

  constructor(other: KubeConfig) {
    super();
    this.#other = other;
  }

  override getCurrentCluster(): ReturnType<KubeConfig["getCurrentCluster"]> {
    return this.#other.getCurrentCluster();
  }

  override async applySecurityAuthentication(context: RequestContext): Promise<void> {
    await this.#other.applySecurityAuthentication(context);
    const dispatcher = context.getDispatcher();
    if (dispatcher === undefined) return;
    const close = () => void dispatcher.destroy().catch(() => {});
    if (this.#closed) close();
    else this.#close.push(close);
  }

  close(): void {
    this.#closed = true;
    for (const close of this.#close.splice(0)) close();
  }
}

/** The library gives up on a watch that is silent for 30 s, which a quiet kind of object is between two bookmarks. */
class SilenceBoundWatch extends Watch {
  constructor(config: KubeConfig, silenceMs: number) {
    super(config);
    Object.assign(this, { requestTimeoutMs: silenceMs });
  }
}

/** The library fills an object. */
function headersOf({ headers }: RequestOptions): Readonly<Record<string, string>> {
  return headers === undefined || Array.isArray(headers) ? {} : (headers as Record<string, string>);
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

async function send(...args: Parameters<typeof exchange>): Promise<Answer> {
  try {
    return await exchange(...args);
  } catch (error) {
    if (!(error instanceof StaleConnection)) throw error;
    return await exchange(...args);
  }
}

/** A connection that was kept turned out to be gone when the next call wanted it: the server never heard of that. */
class StaleConnection extends Error {}

function exchange(
  url: URL,
  what: string,
  signal: AbortSignal,
  text: string | undefined,
  options: RequestOptions,
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const request = (url.protocol === "https:" ? httpsRequest : httpRequest)(url, { ...options, signal });
  request.on("error", (error) => {
    const gone = "code" in error && (error.code === "ECONNRESET" || error.code === "EPIPE");
    reject(gone && request.reusedSocket ? new StaleConnection(error.message, { cause: error }) : error);
  });
  request.on("response", (response) => {
    const chunks: Buffer[] = [];
    let size = 0;
    response.on("error", reject);
    response.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > largestAnswer) response.destroy(unreachable(what, `the answer is larger than ${largestAnswer} bytes`));
      else chunks.push(chunk);
    });
    response.on("end", () => {
      const { statusCode: status = 0, headers } = response;
      resolve({ status, headers, body: Buffer.concat(chunks).toString("utf8") });
    });
  });
  request.end(text);
  return promise;
}

function parseObject(text: string): RawObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is RawObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function refused(
  what: string,
  status: number,
  retryAfter: string | undefined,
  answer: RawObject | undefined,
): ApiError {
  const message = typeof answer?.["message"] === "string" ? answer["message"] : `answered with ${status}`;
  const reason = typeof answer?.["reason"] === "string" ? answer["reason"] : "";
  const seconds = /^\d{1,4}$/.test(retryAfter ?? "") ? Number(retryAfter) : 0;
  return new ApiError(`${what}: ${message}`, { status, reason, retryAfterMs: seconds * 1000 });
}

function unreachable(what: string, why: string, cause?: unknown): ApiError {
  return new ApiError(`${what}: ${why}`, { status: 0, cause });
}

function watchError(what: string, error: unknown): ApiError {
  const status = typeof error === "object" && error !== null && "statusCode" in error ? Number(error.statusCode) : 0;
  return status === 0
    ? unreachable(what, messageOf(error), error)
    : new ApiError(`${what}: ${messageOf(error)}`, { status, cause: error });
}
