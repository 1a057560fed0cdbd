/**
 * The enforcer between a loopback port and an application on another: accepted sockets are handed over as the TypeScript engine
 * hands flows over, and the policy is a function that a test can change.
 */
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { AuthorizationVerdict, HttpRequestFacts } from "../../../../src/model/authorization.ts";
import type { Reason } from "../../../../src/model/reason.ts";
import type { HandedFlow } from "../../../../src/tunnel/driver.ts";
import { FlowEnd, type FlowId, type PodHandle } from "../../../../src/tunnel/engine.ts";
import type { HttpEnforcerOptions, HttpRequestRecord } from "../../../../src/tunnel/http/enforcement.ts";
import { HttpEnforcer } from "../../../../src/tunnel/http/http-enforcer.ts";
import { HandedOver } from "../../../../src/tunnel/typescript/hand-over.ts";
import { SocketLeg } from "../../../../src/tunnel/typescript/leg.ts";

export type Policy = (request: HttpRequestFacts) => AuthorizationVerdict;

export const allowed: AuthorizationVerdict = { outcome: "allow", reason: "ok", policy: "a/b", rule: 0, shadow: [] };
export const denied: AuthorizationVerdict = {
  outcome: "deny",
  reason: "policy-denied",
  policy: "a/b",
  rule: -1,
  shadow: [],
};

export const testOptions: HttpEnforcerOptions = {
  headerTimeout: 5000,
  idleTimeout: 5000,
  lingerTimeout: 500,
  lingerBytes: 65_536,
  maxHeaderSize: 61_440,
  maxConcurrentRequests: 100,
};

export interface GateSetup {
  /** Where the application listens; 0 for nowhere. */
  readonly application: number;
  readonly policy?: Policy;
  readonly options?: Partial<HttpEnforcerOptions>;
  readonly dial?: (signal: AbortSignal) => Promise<Socket>;
  readonly peer?: HandedFlow["peer"];
}

export class Gate {
  readonly records: HttpRequestRecord[] = [];
  readonly errors: unknown[] = [];
  /** How flows ended, in order. */
  readonly ends: Reason[] = [];
  readonly enforcer: HttpEnforcer;
  policy: Policy;
  dials = 0;
  port = 0;
  readonly #server: Server;
  readonly #application: number;
  readonly #peer: HandedFlow["peer"];
  #flows = 0;
  readonly #upstreams = new Set<Socket>();

  private constructor(setup: GateSetup) {
    this.policy = setup.policy ?? (() => allowed);
    const dial = setup.dial ?? (() => connectTo(setup.application));
    this.enforcer = new HttpEnforcer(
      {
        authorize: (_flow, request) => this.policy(request),
        dialUpstream: async (_flow, signal) => {
          this.dials += 1;
          const upstream = await dial(signal);
          this.#upstreams.add(upstream);
          upstream.once("close", () => this.#upstreams.delete(upstream));
          return upstream;
        },
        requestEnded: (record) => this.records.push(record),
        internalError: (error) => this.errors.push(error),
      },
      { ...testOptions, ...setup.options },
    );
    this.#application = setup.application;
    this.#peer = setup.peer ?? "";
    this.#server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
      const plaintext = new HandedOver({
        leg: new SocketLeg(socket),
        onEnd: (reason) => this.ends.push(reason),
        onBacklog: () => {},
      });
      socket.resume();
      this.hand(plaintext);
    });
  }

  static async open(setup: GateSetup): Promise<Gate> {
    const gate = new Gate(setup);
    gate.port = await listen(gate.#server);
    return gate;
  }

  /** A flow without a socket. */
  hand(plaintext: Duplex): void {
    this.#flows += 1;
    this.enforcer.enforce(
      {
        flow: this.#flows as FlowId,
        pod: 1 as PodHandle,
        peer: this.#peer,
        source: { address: "127.0.0.1", port: 40_000 },
        destination: { address: "127.0.0.1", port: this.#application },
      },
      plaintext,
    );
  }

  /** Connections to the application that are open. */
  get upstreams(): number {
    return this.#upstreams.size;
  }

  async close(): Promise<void> {
    this.enforcer.stop();
    for (const upstream of this.#upstreams) upstream.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}

export async function listen(server: Server, address = "127.0.0.1"): Promise<number> {
  server.listen(0, address);
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

export function connectTo(port: number): Promise<Socket> {
  const socket = new Socket({ allowHalfOpen: true });
  return new Promise((resolve, reject) => {
    socket.once("error", () => reject(new FlowEnd("connect-failed")));
    socket.connect(port, "127.0.0.1", () => {
      socket.setNoDelay(true);
      resolve(socket);
    });
  });
}

/** A TCP client that keeps what it read. */
export class RawClient {
  readonly socket: Socket;
  text = "";
  ended = false;
  /** Code of what broke the connection. */
  error = "";
  readonly closed: Promise<void>;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding("latin1");
    socket.on("data", (chunk: string) => {
      this.text += chunk;
    });
    socket.on("end", () => {
      this.ended = true;
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      this.error = error.code ?? error.message;
    });
    this.closed = new Promise((resolve) => socket.once("close", () => resolve()));
  }

  static async open(port: number, options: { allowHalfOpen?: boolean; host?: string } = {}): Promise<RawClient> {
    const { allowHalfOpen = false, host = "127.0.0.1" } = options;
    const socket = new Socket({ allowHalfOpen });
    socket.connect(port, host);
    await once(socket, "connect");
    return new RawClient(socket);
  }

  send(text: string): void {
    this.socket.write(text, "latin1");
  }

  /** Waits until what was read matches, or the connection is over. */
  async reads(expected: RegExp | string): Promise<string> {
    const found = () => (typeof expected === "string" ? this.text.includes(expected) : expected.test(this.text));
    while (!found()) {
      if (this.socket.closed) throw new Error(`closed (${this.error}) after reading ${JSON.stringify(this.text)}`);
      await new Promise<void>((resolve) => {
        const done = () => {
          this.socket.off("data", done).off("close", done);
          resolve();
        };
        this.socket.on("data", done).on("close", done);
      });
    }
    return this.text;
  }

  close(): void {
    this.socket.destroy();
  }
}

/** Sends bytes and returns all that comes until the connection is over. */
export async function converse(port: number, text: string): Promise<RawClient> {
  const client = await RawClient.open(port);
  client.send(text);
  await client.closed;
  return client;
}

export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}
