/**
 * A pod's sockets as the kernel lists them: which connections the mesh does not carry, because they were open before the pod was
 * captured, and which ports the pod listens on, UDP included. A connection that the agent carries has both its ends in the pod's netns (the
 * application's and the agent's); one that only the application's end of is there crosses the network by itself.
 */
import type { SocketAddress } from "../model/address.ts";
import { isMeshPort } from "../model/ports.ts";
import type { CaptureAddon, SocketRow } from "./addon.ts";

export interface UncarriedConnection {
  readonly direction: "inbound" | "outbound";
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  /** Names it for `close`. */
  readonly cookie: bigint;
}

export interface ListeningPort {
  readonly protocol: "tcp" | "udp";
  readonly port: number;
}

export interface PodSocketList {
  readonly uncarried: readonly UncarriedConnection[];
  readonly listening: readonly ListeningPort[];
}

/** Of rows of one netns. `marks` are the agent's: its sockets carry them also when an agent before this one opened them. */
export function podSocketsOf(rows: readonly SocketRow[], marks: ReadonlySet<number>): PodSocketList {
  const isAgents = (row: SocketRow) => row.own || marks.has(row.mark) || isMeshPort(row.local.port);
  const ends = new Set(rows.map(({ local, remote }) => `${keyOf(local)} ${keyOf(remote)}`));
  // The application's end of what was captured outbound: the agent's accepted socket looks back at it, whatever address it was asked for.
  const captured = new Set(rows.filter((row) => isMeshPort(row.local.port)).map(({ remote }) => keyOf(remote)));
  const listens = new Map<string, ListeningPort>();
  for (const row of rows) {
    const { protocol, state, local } = row;
    if (state !== "listening" || isAgents(row) || isLoopback(local.address)) continue;
    // Without a way to tell a client's socket from a server's, an ephemeral UDP port is taken for a client's.
    if (protocol === "udp" && local.port >= ephemeralFrom) continue;
    listens.set(`${protocol} ${local.port}`, { protocol, port: local.port });
  }
  const uncarried: UncarriedConnection[] = [];
  for (const row of rows) {
    const { protocol, state, local, remote, cookie } = row;
    if (protocol !== "tcp" || state !== "open" || isAgents(row) || isLoopback(remote.address)) continue;
    if (ends.has(`${keyOf(remote)} ${keyOf(local)}`) || captured.has(keyOf(local))) continue;
    const direction = listens.has(`tcp ${local.port}`) ? "inbound" : "outbound";
    uncarried.push({ direction, local, remote, cookie });
  }
  const byPort = (one: ListeningPort, other: ListeningPort) =>
    one.port - other.port || (one.protocol < other.protocol ? -1 : 1);
  return { uncarried, listening: [...listens.values()].sort(byPort) };
}

/** Default lower end of ip_local_port_range. */
const ephemeralFrom = 32_768;

function keyOf({ address, port }: SocketAddress): string {
  return `${address} ${port}`;
}

function isLoopback(address: string): boolean {
  return address === "::1" || address.startsWith("127.");
}

export interface PodSocketsDeps {
  readonly addon: Pick<CaptureAddon, "listSockets" | "abortConnections">;
}

/** Looks into one pod's netns, and closes what the mesh does not carry there. */
export class PodSocketsReader {
  readonly #addon: PodSocketsDeps["addon"];
  readonly #marks: ReadonlySet<number>;

  constructor({ addon }: PodSocketsDeps, options: { readonly marks: ReadonlySet<number> }) {
    this.#addon = addon;
    this.#marks = options.marks;
  }

  async list(netnsFd: number): Promise<PodSocketList> {
    return podSocketsOf(await this.#addon.listSockets(netnsFd), this.#marks);
  }

  /** Resets what is not carried; both ends learn of it. Rejects where the kernel closes no sockets of others. */
  async cut(netnsFd: number): Promise<number> {
    const { uncarried } = await this.list(netnsFd);
    if (uncarried.length === 0) return 0;
    return this.#addon.abortConnections(
      netnsFd,
      uncarried.map(({ cookie }) => cookie),
    );
  }
}
