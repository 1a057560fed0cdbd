/** The least that an agent does with captured connections: plain TCP on to where they were going. */
import { createServer, type Server, Socket } from "node:net";
import type { CapturedPod } from "../../../src/capture/capture.ts";
import type { SocketAddress } from "../../../src/model/address.ts";
import type { SocketOps } from "../../../src/model/sockets.ts";

const meshPorts = new Set([15001, 15006, 15008]);

export interface RelayedFlow {
  readonly role: "outbound" | "inbound" | "hbone";
  readonly source: string;
  readonly destination: SocketAddress | undefined;
}

function fdOf(socket: Socket): number {
  return (socket as unknown as { readonly _handle: { readonly fd: number } })._handle.fd;
}

export class Relay {
  readonly flows: RelayedFlow[] = [];
  readonly #sockets: SocketOps;
  readonly #servers = new Set<Server>();
  readonly #open = new Set<Socket>();

  constructor(sockets: SocketOps) {
    this.#sockets = sockets;
  }

  add(pod: CapturedPod): Server[] {
    return pod.listeners.map(({ role, family, fd }) => {
      const server = createServer({ allowHalfOpen: true }, (socket) => this.#accepted(pod, role, family, socket));
      server.listen({ fd });
      this.#servers.add(server);
      return server;
    });
  }

  #accepted(pod: CapturedPod, role: RelayedFlow["role"], family: 4 | 6, socket: Socket): void {
    this.#watch(socket);
    const destination =
      role === "hbone" ? undefined : this.#sockets.originalDestination(fdOf(socket), pod.originalDestination, role);
    const source = socket.remoteAddress ?? "";
    this.flows.push({ role, source, destination });
    if (destination === undefined || meshPorts.has(destination.port)) {
      socket.resetAndDestroy();
      return;
    }
    const fd = this.#sockets.openSocket(
      pod.netns.fd,
      role === "outbound"
        ? { purpose: "leave", family, mark: pod.marks.leave }
        : {
            purpose: "deliver",
            family,
            mark: pod.marks.deliver,
            ...(source === destination.address ? {} : { sourceAddress: source }),
          },
    );
    const upstream = new Socket({ fd, manualStart: true, allowHalfOpen: true } as ConstructorParameters<
      typeof Socket
    >[0]);
    this.#watch(upstream);
    upstream.connect({ host: destination.address, port: destination.port });
    for (const [from, to] of [
      [socket, upstream],
      [upstream, socket],
    ] as const) {
      from.on("error", () => to.resetAndDestroy());
      from.pipe(to);
    }
  }

  #watch(socket: Socket): void {
    this.#open.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => this.#open.delete(socket));
  }

  /** Stops listening; open connections go on. */
  async stopListening(): Promise<void> {
    const servers = [...this.#servers];
    this.#servers.clear();
    for (const server of servers) {
      server.close();
    }
  }

  /** As a crash does: everything is closed at once. */
  async stop(): Promise<void> {
    await this.stopListening();
    for (const socket of this.#open) {
      socket.resetAndDestroy();
    }
  }
}
