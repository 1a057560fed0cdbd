/**
 * The door for `warren-cni`: a unix socket on which each connection asks one question and waits for its answer. Root alone may open
 * it, and the kernel's word for who connected is checked besides. It binds under another name and renames: during an upgrade two agents
 * overlap, and the plugin must find one of them at every moment.
 */
import { randomUUID } from "node:crypto";
import { chmod, mkdir, rename, rm, stat } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import type { PeerCredentials } from "../../capture/addon.ts";
import { MeshError, messageOf } from "../../lib/errors.ts";
import { type CniAnswer, type CniRequest, cniRequestSchema, encodeAnswer } from "./protocol.ts";

export interface CniServerDeps {
  /** Resolves when the request is granted; rejects with why it is not. */
  readonly answer: (request: CniRequest, signal: AbortSignal) => Promise<void>;
  /** Of the process at the other end; undefined when the socket is gone already. */
  readonly credentials: (socket: Socket) => PeerCredentials | undefined;
  readonly log: Record<"debug" | "info" | "warn", (fields: object, message: string) => void>;
}

export interface CniServerOptions {
  readonly path: string;
  /** The only user that may ask, besides root. */
  readonly uid: number;
}

/** A question is a line of a few hundred bytes, sent at once. */
const longestQuestion = 64 * 1024;
const questionMs = 5000;
/** Runtimes start pods in parallel, but not without bound. */
const mostConnections = 256;

/** Failures that mean "not now" and not "no": the plugin may let the pod pass if it was told to fail open. */
const awayCodes: ReadonlySet<string> = new Set([
  "MESH_CNI_POD_UNKNOWN",
  "MESH_CNI_NOT_READY",
  "MESH_STOPPED",
  "MESH_ENROLMENT_TIMEOUT",
]);

export class CniServer {
  readonly #deps: CniServerDeps;
  readonly #options: CniServerOptions;
  readonly #stopping = new AbortController();
  readonly #open = new Set<Promise<void>>();
  #server: Server | undefined;
  #inode: bigint | undefined;

  constructor(deps: CniServerDeps, options: CniServerOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  async start(): Promise<void> {
    const { path } = this.#options;
    const draft = `${path}.${randomUUID().slice(0, 8)}`;
    const server = createServer((socket) => {
      const done = this.#serve(socket).finally(() => this.#open.delete(done));
      this.#open.add(done);
    });
    server.maxConnections = mostConnections;
    this.#server = server;
    try {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      server.once("error", reject).listen(draft, resolve);
      await promise;
      // A connection that cannot be accepted, for want of descriptors say, is its plugin's trouble: it asks again.
      server.off("error", reject).on("error", (error) => {
        this.#deps.log.warn({}, `a connection to the CNI socket cannot be accepted: ${messageOf(error)}`);
      });
      await chmod(draft, 0o600);
      this.#inode = (await stat(draft, { bigint: true })).ino;
      await rename(draft, path);
    } catch (error) {
      this.#server = undefined;
      server.close();
      await rm(draft, { force: true }).catch(() => {});
      throw new MeshError("MESH_CNI_LISTEN", `cannot listen on ${path}: ${messageOf(error)}; is its folder writable?`, {
        cause: error,
      });
    }
  }

  /** Whoever waits is told that the agent is stopping. The socket goes unless a successor has put its own there. */
  async stop(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    this.#stopping.abort(new MeshError("MESH_STOPPED", "the agent is stopping"));
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    const { path } = this.#options;
    const now = await stat(path, { bigint: true }).catch(() => undefined);
    if (now !== undefined && now.ino === this.#inode) await rm(path, { force: true });
    await Promise.all([...this.#open, closed]);
  }

  async #serve(socket: Socket): Promise<void> {
    const gone = new AbortController();
    socket.on("error", () => socket.destroy());
    socket.once("close", () => gone.abort(new MeshError("MESH_CNI_GAVE_UP", "whoever asked is gone")));
    const signal = AbortSignal.any([this.#stopping.signal, gone.signal]);
    const answer = await this.#answer(socket, signal).catch((error: unknown) => {
      this.#deps.log.warn({}, `a question on the CNI socket cannot be answered: ${messageOf(error)}`);
      return undefined;
    });
    if (answer !== undefined && !gone.signal.aborted) socket.end(encodeAnswer(answer));
    else socket.destroy();
  }

  /** Undefined for somebody who is not answered at all. */
  async #answer(socket: Socket, signal: AbortSignal): Promise<CniAnswer | undefined> {
    const { credentials, log, answer } = this.#deps;
    const peer = credentials(socket);
    if (peer === undefined || (peer.uid !== 0 && peer.uid !== this.#options.uid)) {
      log.warn({ pid: peer?.pid, uid: peer?.uid }, "a stranger asked on the CNI socket");
      return undefined;
    }
    let request: CniRequest;
    try {
      request = parseRequest(await firstLine(socket, signal));
    } catch (error) {
      log.warn({ pid: peer.pid }, `a question on the CNI socket cannot be read: ${messageOf(error)}`);
      return refusal(error);
    }
    const { command, container, pod } = request;
    const fields = { command, container, pod: `${pod.namespace}/${pod.name}`, uid: pod.uid };
    try {
      await answer(request, signal);
      log.debug(fields, "granted to the CNI plugin");
      return { ok: true };
    } catch (error) {
      log.warn(fields, `refused to the CNI plugin: ${messageOf(error)}`);
      return refusal(error);
    }
  }
}

function parseRequest(line: string): CniRequest {
  const parsed = cniRequestSchema.safeParse(JSON.parse(line));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new MeshError(
    "MESH_CNI_BAD_REQUEST",
    `${issue?.path.join(".") ?? "request"}: ${issue?.message ?? "is wrong"}; are plugin and agent of one version?`,
  );
}

function refusal(error: unknown): CniAnswer {
  const code = error instanceof MeshError ? error.code : "MESH_INTERNAL";
  return {
    ok: false,
    away: awayCodes.has(code),
    message: messageOf(error),
    details: `${code}; the log of the warren-node pod of this node says more`,
  };
}

/** Everything up to the first line feed. */
function firstLine(socket: Socket, signal: AbortSignal): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const chunks: Buffer[] = [];
  let size = 0;
  const fail = (what: string) => reject(new MeshError("MESH_CNI_BAD_REQUEST", what));
  const timer = setTimeout(() => fail("no whole line came in time"), questionMs);
  const onAbort = () => reject(signal.reason as Error);
  const onData = (chunk: Buffer) => {
    const end = chunk.indexOf(10);
    chunks.push(end === -1 ? chunk : chunk.subarray(0, end));
    size += chunk.length;
    if (end !== -1) resolve(Buffer.concat(chunks).toString());
    else if (size > longestQuestion) fail("the line does not end");
  };
  const onEnd = () => fail("the line does not end");
  socket.on("data", onData).once("end", onEnd);
  if (signal.aborted) onAbort();
  else signal.addEventListener("abort", onAbort, { once: true });
  return promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
    socket.off("data", onData).off("end", onEnd);
    socket.resume();
  });
}
