/**
 * The other side of `enforcement.ts`, in a process of its own: client pods with their agent's engine, the connections that they hold,
 * and the application. It opens a client's connections when it is told to, and tells when the last of them has been taken away. What it
 * does is other nodes' work, which would not take this node's processors: it stands back behind the agent under measure.
 */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { constants, setPriority } from "node:os";
import { setTimeout as pause } from "node:timers/promises";
import type { CredentialSpec, Engine, EngineLimits } from "../../src/tunnel/engine.ts";
import { type EngineKind, engines } from "../../test/conformance/support/engines.ts";
import { addon, listen, netns, ports } from "../../test/conformance/support/loopback.ts";
import { engineOptions } from "../../test/conformance/support/options.ts";

/** A client pod; those without a credential are outside the mesh. */
export interface Client {
  readonly name: string;
  readonly address: string;
  readonly credential: CredentialSpec | undefined;
  /** Whom all its connections go to. */
  readonly server: string;
}

export interface Cast {
  readonly engine: string;
  readonly flowsEach: number;
  /** Server pods by address, and what they prove to be. */
  readonly servers: ReadonlyMap<string, CredentialSpec["identity"]>;
  readonly clients: readonly Client[];
}

export type ToPeers = { readonly kind: "cast"; readonly cast: Cast } | { readonly kind: "open"; readonly name: string };

export type FromPeers =
  /** Every connection of the client is proven by a byte there and back. */
  | { readonly kind: "opened"; readonly name: string }
  /** When each of them ended, by `machineNow`. */
  | { readonly kind: "ended"; readonly name: string; readonly at: readonly number[] };

/** Milliseconds on the machine's monotonic clock, which processes share. */
export function machineNow(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

export const appPort = 8080;
/** Connections that are being opened at the same time. */
const atOnce = 64;
/** Until a peer is asked again that turned one away: an engine keeps its distance from who has just failed. */
const patienceMs = 20;

export function engineNamed(name: string): EngineKind {
  const kind = engines.find((engine) => engine.name === name);
  if (kind === undefined) throw new Error(`--engine ${name}: there are ${engines.map((one) => one.name).join(", ")}`);
  return kind;
}

/** Every client has one tunnel or a few, and all of them one pod. */
export function limits(clients: number): Partial<EngineLimits> {
  return { flows: 20_000, flowsPerPod: 20_000, inboundTunnelsPerPod: clients * 8, tunnelsPerGroup: 8 };
}

class Peers {
  readonly #cast: Cast;
  readonly #say: (message: FromPeers) => void;

  constructor(cast: Cast, say: (message: FromPeers) => void) {
    this.#cast = cast;
    this.#say = say;
  }

  async start(): Promise<void> {
    const { servers, clients } = this.#cast;
    for (const address of servers.keys()) await startApplication(address);
    const serverOf = new Map<number, string>();
    const engine = this.#engine(serverOf);
    for (const { address, credential, server } of clients) {
      if (credential === undefined) continue;
      const handle = engine.addCredential(credential.identity);
      engine.setCredential(handle, credential);
      const pod = engine.addPod({
        uid: credential.identity,
        netns,
        addresses: [address],
        listeners: [await listen(address, "outbound")],
        originalDestination: { kind: "fixed", destination: { address: server, port: appPort } },
        marks: { leave: 0, deliver: 0 },
        credential: handle,
      });
      serverOf.set(pod, server);
    }
  }

  /** The client's connections, and word of their end. */
  async open(name: string): Promise<void> {
    const client = this.#cast.clients.find((one) => one.name === name);
    if (client === undefined) throw new Error(`no client is called ${name}`);
    const { flowsEach } = this.#cast;
    const ended: number[] = [];
    const held: Socket[] = [];
    while (held.length < flowsEach) {
      const opening = Array.from({ length: Math.min(atOnce, flowsEach - held.length) }, () => openOne(client));
      held.push(...(await Promise.all(opening)));
    }
    for (const socket of held) {
      socket.once("close", () => {
        ended.push(machineNow());
        if (ended.length === flowsEach) this.#say({ kind: "ended", name, at: ended });
      });
    }
    if (held.some(({ destroyed }) => destroyed)) throw new Error(`${name} lost connections that were let in`);
    this.#say({ kind: "opened", name });
  }

  #engine(serverOf: ReadonlyMap<number, string>): Engine {
    const { engine: name, clients, servers } = this.#cast;
    const engine: Engine = engineNamed(name).create(
      {
        sockets: addon,
        events: {
          flowArrived: ({ flow, pod }) => {
            const server = serverOf.get(pod) ?? "";
            const peer = { address: server, port: ports.hbone };
            const identity = servers.get(server);
            const group = engine.group({ pod, peer, expectedIdentities: identity === undefined ? [] : [identity] });
            const targets = [{ group, authority: `${server}:${appPort}`, weight: 1 }];
            engine.decide(flow, { kind: "carry", label: 1, targets, baggage: "", forwardedHost: "" });
          },
          connectArrived: () => {},
          flowHandedOver: () => {},
          flowClosed: () => {},
          tunnelUp: () => {},
          tunnelDown: () => {},
          batchEnd: () => {},
        },
      },
      engineOptions({ limits: limits(clients.length), timeouts: { peerBackoff: 1, peerBackoffMax: 1 } }),
    );
    return engine;
  }
}

async function startApplication(address: string): Promise<void> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (chunk) => socket.write(chunk));
  });
  server.listen({ host: address, port: appPort, backlog: 4096 });
  await once(server, "listening");
}

/** Through the mesh from a pod of it, and straight to the agent's door for plaintext from any other. */
async function openOne({ address, credential, server }: Client): Promise<Socket> {
  const to = credential === undefined ? { host: server, port: ports.inbound } : { host: address, port: ports.outbound };
  for (;;) {
    // From the client's own address: that is what it has in a pod.
    const socket = connect({ ...to, localAddress: address });
    try {
      const answered = once(socket, "data");
      socket.write("w");
      await answered;
      socket.on("error", () => {});
      return socket;
    } catch {
      socket.destroy();
      await pause(patienceMs);
    }
  }
}

if (import.meta.main) {
  // Before there are other threads, which inherit it.
  setPriority(constants.priority.PRIORITY_BELOW_NORMAL);
  let peers: Peers | undefined;
  const say = (message: FromPeers): void => {
    process.send?.(message);
  };
  const obey = async (message: ToPeers): Promise<void> => {
    if (message.kind === "open") return peers?.open(message.name);
    peers = new Peers(message.cast, say);
    await peers.start();
    for (const { name } of message.cast.clients) await peers.open(name);
  };
  process.on("message", (message: ToPeers) => {
    obey(message).catch((error: unknown) => {
      process.stderr.write(`${String(error)}\n`);
      process.exit(1);
    });
  });
  // Clients that outlive the one that they talk to would serve nobody.
  process.once("disconnect", () => process.exit());
}
