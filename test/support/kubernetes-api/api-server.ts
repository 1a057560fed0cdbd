/**
 * A double of the Kubernetes API server: real list, watch, get, create, update, patch and delete over TLS with bearer tokens, resource
 * versions, paging, bookmarks, reviews, RBAC and subresources, for tests that must not need a cluster. It keeps what the real one
 * promises to clients and knows no controllers. On demand it misbehaves (`faults`).
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { parse } from "yaml";
import { makeParty, type Party } from "../pki.ts";
import { ApiFailure, badRequest, NoSuchPath, noSuchPath } from "./failure.ts";
import { FaultPlan, isWatchFault } from "./faults.ts";
import { type ApiObject, type DraftObject, fieldSelector, isTree, labelSelector, mergePatch } from "./objects.ts";
import { PortForwards } from "./port-forward.ts";
import { AccessRules, type User } from "./rbac.ts";
import { type RequestInfo, requestInfo } from "./request-info.ts";
import { apiVersionOf, type Resource, resourceOf, resourceOfKind } from "./resources.ts";
import { requestToken, review, reviewPlurals } from "./reviews.ts";
import { Store } from "./store.ts";
import { apiAudience, Tokens } from "./tokens.ts";
import { WatchStream } from "./watch-stream.ts";

export interface ApiServerOptions {
  /** Groups of custom resources whose CRDs are not installed. */
  readonly without?: readonly string[];
  /** Writes that a watch may lie behind before it is told 410. */
  readonly historyLimit?: number;
}

/** One request as it was answered. */
export interface ServedRequest {
  readonly verb: string;
  readonly plural: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
  readonly user: string;
  readonly query: Readonly<Record<string, string>>;
  code: number;
}

const mebibyte = 1024 * 1024;

export class ApiServer {
  readonly store: Store;
  readonly tokens: Tokens;
  readonly rules: AccessRules;
  readonly faults = new FaultPlan();
  readonly requests: ServedRequest[] = [];
  readonly portForwards: PortForwards;
  /** What containers wrote, by `namespace/pod/container`; with `/previous` behind it, before their last restart. */
  readonly logs = new Map<string, string>();
  /** Accepted since the first start. */
  connections = 0;
  readonly #without: Set<string>;
  readonly #watches = new Set<WatchStream>();
  readonly #sockets = new Set<Duplex>();
  #server: Server | undefined;
  #authority: Party | undefined;
  #url = "";

  constructor(options: ApiServerOptions = {}) {
    this.#without = new Set(options.without);
    this.store = new Store(options.historyLimit);
    this.tokens = new Tokens(this.store);
    this.rules = new AccessRules(this.store);
    this.portForwards = new PortForwards(this.store);
  }

  get url(): string {
    return this.#url;
  }

  /** PEM of the root that the serving certificate leads to. */
  get root(): string {
    return this.#authority?.pem ?? "";
  }

  async start(port = 0): Promise<void> {
    this.#authority ??= await makeParty({ subject: "CN=kubernetes", authority: true });
    const names = [
      { type: "ip", value: "127.0.0.1" },
      { type: "dns", value: "localhost" },
    ] as const;
    const leaf = await makeParty(
      { subject: "CN=kube-apiserver", names: [...names], purposes: ["server"] },
      this.#authority,
    );
    const server = createServer({ cert: leaf.pem, key: leaf.key }, (request, response) =>
      this.#serve(request, response),
    );
    server.on("connection", (socket) => {
      this.connections += 1;
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket)).on("error", () => {});
    });
    server.on("upgrade", (request, socket, head) => this.#upgrade(request, socket, head));
    await new Promise<void>((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
    this.#server = server;
    this.#url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  /** Cuts every connection, as a machine that is turned off does; what is stored stays for the next `start`. */
  async stop(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    for (const watch of this.#watches) watch.reset();
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  /** Away and back on the same port. */
  async restart(whileAway: () => Promise<void> | void = () => {}): Promise<void> {
    const port = Number(new URL(this.#url).port);
    await this.stop();
    await whileAway();
    await this.start(port);
  }

  /** Puts objects in, past authorization: the first time they are created, then replaced, status included. */
  apply(...drafts: readonly DraftObject[]): ApiObject[] {
    return drafts.map((draft) => {
      const resource = resourceOfKind(draft.apiVersion, draft.kind);
      if (resource === undefined) throw new Error(`the double does not serve ${draft.apiVersion} ${draft.kind}`);
      const namespace = resource.namespaced ? (draft.metadata.namespace ?? "default") : undefined;
      const object = structuredClone({
        ...draft,
        metadata: {
          ...draft.metadata,
          name: draft.metadata.name ?? "",
          ...(namespace === undefined ? {} : { namespace }),
        },
      }) as ApiObject;
      const before = this.store.get(resource, namespace ?? "", object.metadata.name);
      if (before !== undefined && object.metadata.uid !== undefined && object.metadata.uid !== before.metadata.uid) {
        // Another object of the same name: the first must go before it can come.
        this.store.delete(resource, namespace ?? "", object.metadata.name);
        return this.store.create(resource, object);
      }
      if (before === undefined) return this.store.create(resource, object);
      const updated = this.store.update(resource, object, "object");
      const withStatus = { ...updated, status: object["status"] };
      return resource.status && object["status"] !== undefined
        ? this.store.update(resource, withStatus, "status")
        : updated;
    });
  }

  /** Manifests as they are written: YAML with any number of documents. */
  applyYaml(text: string): ApiObject[] {
    const documents = text.split(/^---$/m).map((part) => parse(part) as unknown);
    return documents.filter(isTree).flatMap((document) => this.apply(document as unknown as DraftObject));
  }

  object(apiVersion: string, kind: string, namespace: string, name: string): ApiObject | undefined {
    const resource = resourceOfKind(apiVersion, kind);
    return resource && this.store.get(resource, resource.namespaced ? namespace : "", name);
  }

  delete(apiVersion: string, kind: string, namespace: string, name: string): void {
    const resource = resourceOfKind(apiVersion, kind);
    if (resource === undefined) throw new Error(`the double does not serve ${apiVersion} ${kind}`);
    this.store.delete(resource, resource.namespaced ? namespace : "", name);
  }

  /** From now on this group's custom resources are served. */
  install(group: string): void {
    this.#without.delete(group);
  }

  watches(plural: string): readonly WatchStream[] {
    return [...this.#watches].filter(({ resource }) => resource.plural === plural);
  }

  bookmarks(): void {
    for (const watch of this.#watches) watch.bookmark();
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    response.on("error", () => {});
    const chunks: Buffer[] = [];
    let size = 0;
    request.on("error", () => {});
    request.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size <= 3 * mebibyte) chunks.push(chunk);
    });
    request.on("end", () => {
      try {
        this.#answer(request, Buffer.concat(chunks), response);
      } catch (error) {
        if (error instanceof NoSuchPath) {
          response.writeHead(error.code, { "content-type": "text/plain; charset=utf-8" }).end(error.message);
          return;
        }
        const failure = error instanceof ApiFailure ? error : new ApiFailure(500, "InternalError", String(error));
        send(response, failure.code, failure.status, failure.headers);
      }
    });
  }

  #answer(request: IncomingMessage, body: Buffer, response: ServerResponse): void {
    const info = requestInfo(request.method ?? "GET", request.url ?? "/");
    const user = this.#authenticate(request);
    const served: ServedRequest = { ...summary(info), user: user.username, code: 0 };
    this.requests.push(served);
    response.on("finish", () => (served.code = response.statusCode));
    const fault = this.faults.take(info.verb, info.plural);
    if (fault?.kind === "reset") {
      request.socket.destroy();
      return;
    }
    if (fault?.kind === "stall") return;
    if (fault?.kind === "status") {
      const headers: Record<string, string> =
        fault.retryAfter === undefined ? {} : { "retry-after": String(fault.retryAfter) };
      throw new ApiFailure(fault.code, fault.reason, "as the test wants it", headers);
    }
    this.#authorize(user, info);
    if (info.plural === "pods" && info.subresource === "log") {
      const text = this.#log(info);
      response.writeHead(200, { "content-type": "text/plain" }).end(text);
      return;
    }
    const [code, answer] =
      info.verb === "watch"
        ? [0, undefined]
        : reviewPlurals.get(info.plural) === info.group
          ? [201, review(info.plural, readObject(body, request), user, this.tokens, this.rules)]
          : this.#act(info, request, body);
    if (answer !== undefined) {
      send(response, code, answer, {}, fault?.kind === "slow" ? fault : undefined);
      return;
    }
    const watch = new WatchStream(this.store, response, {
      resource: this.#resource(info),
      matches: matcher(info),
      resourceVersion: info.query.get("resourceVersion") ?? "",
      bookmarks: info.query.get("allowWatchBookmarks") === "true",
      timeoutMs: Number(info.query.get("timeoutSeconds") ?? "1800") * 1000,
      fault: isWatchFault(fault) ? fault : undefined,
    });
    this.#watches.add(watch);
    response.on("close", () => this.#watches.delete(watch));
    watch.start();
  }

  #act(info: RequestInfo, request: IncomingMessage, body: Buffer): [number, object] {
    const { namespace, name, plural, subresource } = info;
    if (plural === "serviceaccounts" && subresource === "token" && info.verb === "create") {
      return [201, requestToken(namespace, name, readObject(body, request), this.tokens)];
    }
    const resource = this.#resource(info);
    if (subresource !== "" && !(subresource === "status" && resource.status)) throw noSuchPath();
    const part = subresource === "status" ? "status" : "object";
    switch (info.verb) {
      case "list":
        return [200, this.#list(resource, info)];
      case "get":
        return [200, this.store.require(resource, namespace, name)];
      case "create":
        return [201, this.store.create(resource, framed(readObject(body, request), resource, namespace))];
      case "update": {
        const object = framed(readObject(body, request), resource, namespace);
        if (object.metadata.name !== name)
          throw badRequest("the name of the object does not match the name on the URL");
        return [200, this.store.update(resource, object, part)];
      }
      case "patch": {
        const type = request.headers["content-type"] ?? "";
        if (!type.startsWith("application/merge-patch+json")) {
          throw new ApiFailure(415, "UnsupportedMediaType", `the double takes merge patches, not ${type}`);
        }
        const before = this.store.require(resource, namespace, name);
        const { resourceVersion: _present, ...metadata } = before.metadata;
        const merged = mergePatch({ ...before, metadata }, JSON.parse(body.toString()));
        return [200, this.store.update(resource, merged as ApiObject, part)];
      }
      case "delete": {
        const { preconditions } = (body.length === 0 ? {} : JSON.parse(body.toString())) as { preconditions?: object };
        return [200, this.store.delete(resource, namespace, name, preconditions)];
      }
      case "watch":
        throw noSuchPath();
    }
  }

  #log({ namespace, name, query }: RequestInfo): string {
    const of = [
      namespace,
      name,
      query.get("container") ?? "",
      ...(query.get("previous") === "true" ? ["previous"] : []),
    ];
    const lines = this.logs.get(of.join("/"))?.split("\n");
    if (lines === undefined) throw badRequest(`${of.slice(2).join(" ")} container of pod ${name} not found`);
    const tail = Number(query.get("tailLines") ?? lines.length);
    return lines.slice(-tail - 1).join("\n");
  }

  #list(resource: Resource, info: RequestInfo): object {
    const limit = Number(info.query.get("limit") ?? "0");
    const page = this.store.page(resource, matcher(info), limit, info.query.get("continue") ?? undefined);
    const { kind } = resource;
    return {
      kind: `${kind}List`,
      apiVersion: apiVersionOf(resource),
      metadata: {
        resourceVersion: String(page.version),
        ...(page.next === undefined ? {} : { continue: page.next, remainingItemCount: page.left }),
      },
      // Items of a list say neither kind nor version; custom resources' do.
      items: page.items.map(({ apiVersion, kind: itemKind, ...rest }) =>
        resource.custom ? { apiVersion, kind: itemKind, ...rest } : rest,
      ),
    };
  }

  #resource({ group, version, plural }: RequestInfo): Resource {
    const resource = resourceOf(group, plural);
    const missing = resource?.custom === true && this.#without.has(group);
    if (resource === undefined || resource.version !== version || missing) throw noSuchPath();
    return resource;
  }

  #authenticate({ headers }: IncomingMessage): User {
    const token = /^Bearer (\S+)$/.exec(headers.authorization ?? "")?.[1];
    if (token === undefined) return { username: "system:anonymous", groups: ["system:unauthenticated"] };
    const { user } = this.tokens.review(token, [apiAudience]);
    if (user === undefined) throw new ApiFailure(401, "Unauthorized", "Unauthorized");
    return user;
  }

  #authorize(user: User, { verb, group, plural, subresource, namespace, name, query }: RequestInfo): void {
    const resource = subresource === "" ? plural : `${plural}/${subresource}`;
    // A list or watch of one name is a request for that name.
    const named = name || (/^metadata\.name=([^,]+)$/.exec(query.get("fieldSelector") ?? "")?.[1] ?? "");
    const subject = verb === "create" && subresource === "" ? "" : named;
    if (this.rules.allows(user, { verb, group, resource, namespace, name: subject })) return;
    const where = namespace === "" ? "at the cluster scope" : `in the namespace "${namespace}"`;
    const what = `${plural}${name === "" ? "" : ` "${name}"`} is forbidden`;
    const who = `User "${user.username}" cannot ${verb} resource "${resource}" in API group "${group}" ${where}`;
    throw new ApiFailure(403, "Forbidden", `${what}: ${who}`);
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on("error", () => {});
    try {
      const info = requestInfo(request.method ?? "GET", request.url ?? "/");
      const user = this.#authenticate(request);
      const served = { ...summary(info), user: user.username, code: 101 };
      this.requests.push(served);
      // A websocket begins with GET; opening one is "create" to those who look at verbs since 1.35, and "get" before.
      const asked = this.rules.allows(user, { ...info, verb: "create", resource: "pods/portforward" });
      if (!asked) this.#authorize(user, { ...info, verb: "get" });
      this.portForwards.accept(info, request, socket, head);
    } catch (error) {
      const failure = error instanceof ApiFailure ? error : new ApiFailure(500, "InternalError", String(error));
      const text = JSON.stringify(failure.status);
      socket.end(
        `HTTP/1.1 ${failure.code} ${failure.reason}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\nconnection: close\r\n\r\n${text}`,
      );
    }
  }
}

function summary({
  verb,
  plural,
  subresource,
  namespace,
  name,
  query,
}: RequestInfo): Omit<ServedRequest, "user" | "code"> {
  return { verb, plural, subresource, namespace, name, query: Object.fromEntries(query) };
}

function matcher({ namespace, query }: RequestInfo): (object: ApiObject) => boolean {
  const [labels, fields] = [
    labelSelector(query.get("labelSelector") ?? ""),
    fieldSelector(query.get("fieldSelector") ?? ""),
  ];
  return (object) => (namespace === "" || object.metadata.namespace === namespace) && labels(object) && fields(object);
}

function readObject(body: Buffer, request: IncomingMessage): ApiObject {
  if (!(request.headers["content-type"] ?? "").startsWith("application/json")) {
    throw new ApiFailure(415, "UnsupportedMediaType", "the double takes JSON");
  }
  const value: unknown = JSON.parse(body.toString());
  if (!isTree(value)) throw badRequest("the body is no object");
  return { metadata: {}, ...value } as unknown as ApiObject;
}

function framed(object: ApiObject, resource: Resource, namespace: string): ApiObject {
  if (object.kind !== resource.kind || object.apiVersion !== apiVersionOf(resource)) {
    throw badRequest(`${object.apiVersion} ${object.kind} does not belong here`);
  }
  if ((object.metadata.namespace ?? namespace) !== namespace) {
    throw badRequest("the namespace of the object does not match the namespace on the request");
  }
  return resource.namespaced ? { ...object, metadata: { ...object.metadata, namespace } } : object;
}

function send(
  response: ServerResponse,
  code: number,
  value: object,
  headers: Readonly<Record<string, string>> = {},
  slow?: { readonly bytes: number; readonly delayMs: number },
): void {
  const text = Buffer.from(JSON.stringify(value));
  response.writeHead(code, { "content-type": "application/json", "content-length": text.length, ...headers });
  if (slow === undefined) return void response.end(text);
  const next = (at: number): void => {
    if (response.destroyed) return;
    if (at >= text.length) return void response.end();
    response.write(text.subarray(at, at + slow.bytes), () => setTimeout(() => next(at + slow.bytes), slow.delayMs));
  };
  next(0);
}
