/** The control plane's listener for agents: gRPC over TLS 1.3. Services are handed in; it owns nothing but the port. */
import { chmod, mkdir, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import {
  Server,
  type ServerCredentials,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { MeshError, messageOf } from "../lib/errors.ts";
import { formatHostPort } from "../lib/host-port.ts";
import { type CallGate, callGates } from "./access/call-gate.ts";

export interface GrpcServerDeps {
  readonly credentials: ServerCredentials;
  readonly services: readonly ServedService[];
  readonly log: { warn(fields: object, message: string): void };
}

export interface ServedService {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
  /** Before the message of each call. Only a service whose methods all take streams can do without: it reads when it likes. */
  readonly gate?: CallGate;
}

export interface GrpcServerOptions {
  /** Empty for all addresses of both families. */
  readonly host: string;
  readonly port: number;
  /** A Unix socket as well; what an earlier process left at its path is replaced. */
  readonly socket?: string | undefined;
}

/**
 * Ours are a few kilobytes. A ztunnel that comes back names all that it holds in one request, some 130 bytes for each of 150 000
 * workloads. Of strangers nothing is read.
 */
const largestRequest = 24 * 1024 * 1024;
/** An agent needs ten: its state, its inspection stream, and eight certificates at once. */
const streamsPerConnection = 24;
/** Agents have a stream open all the time; who has none for this long can come again, and strangers don't hold descriptors. */
const longestIdleMs = 5 * 60_000;

export class GrpcServer {
  readonly #server: Server;
  readonly #credentials: ServerCredentials;
  readonly #options: GrpcServerOptions;
  #stopping: Promise<void> | undefined;

  constructor(deps: GrpcServerDeps, options: GrpcServerOptions) {
    this.#options = options;
    this.#server = new Server({
      "grpc.max_receive_message_length": largestRequest,
      "grpc.max_concurrent_streams": streamsPerConnection,
      "grpc.max_metadata_size": 16 * 1024,
      "grpc.keepalive_time_ms": 30_000,
      "grpc.keepalive_timeout_ms": 10_000,
      // Agents may ping without a call under way, as often as they like down to this.
      "grpc.keepalive_permit_without_calls": 1,
      "grpc.max_connection_idle_ms": longestIdleMs,
      interceptors: [callGates({ gates: gatesOf(deps.services), log: deps.log })],
    });
    for (const { definition, implementation } of deps.services) this.#server.addService(definition, implementation);
    this.#credentials = deps.credentials;
  }

  /** The port that was bound; rejects with MESH_LISTEN_FAILED. */
  async start(): Promise<number> {
    const { host, port, socket } = this.#options;
    if (socket !== undefined) {
      await makeWay(socket);
      await this.#bind(`unix:${socket}`);
      // Callers show a token all the same; others of this machine need not even try.
      await chmod(socket, 0o600);
    }
    if (host !== "") return await this.#bind(formatHostPort(host, port));
    try {
      return await this.#bind(`[::]:${port}`);
    } catch (error) {
      // A kernel without IPv6 has no [::].
      if (!messageOf(error).includes("EAFNOSUPPORT")) throw error;
      return await this.#bind(`0.0.0.0:${port}`);
    }
  }

  /** Takes no new calls, lets those under way end within the grace time, then cuts. May be called twice. */
  stop(graceMs: number): Promise<void> {
    this.#stopping ??= new Promise((resolve) => {
      const timer = setTimeout(() => this.#server.forceShutdown(), graceMs);
      this.#server.tryShutdown(() => {
        clearTimeout(timer);
        resolve();
      });
    });
    return this.#stopping;
  }

  #bind(address: string): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(address, this.#credentials, (error, port) => {
        if (error === null) resolve(port);
        else
          reject(
            new MeshError("MESH_LISTEN_FAILED", `cannot listen on ${address}: ${error.message}`, { cause: error }),
          );
      });
    });
  }
}

function gatesOf(services: readonly ServedService[]): ReadonlyMap<string, CallGate> {
  const gates = new Map<string, CallGate>();
  for (const { definition, gate } of services) {
    for (const { path, requestStream } of Object.values(definition)) {
      if (gate !== undefined) gates.set(path, gate);
      else if (!requestStream) throw new TypeError(`${path} has no gate: anybody's message would be read`);
    }
  }
  return gates;
}

/** A socket that a killed process left refuses everybody, its successor's bind included. Anything but a socket is somebody else's. */
async function makeWay(path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const there = await stat(path).catch(() => undefined);
  if (there?.isSocket() === true) await rm(path, { force: true });
}
