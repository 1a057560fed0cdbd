/** The other side of `enforcement.ts`: client pods with their agent's engine, the connections that they hold, and the application. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import type { CredentialSpec, Engine, EngineLimits } from "../../src/tunnel/engine.ts";
import { type EngineKind, engines } from "../../test/conformance/support/engines.ts";
import { addon, listen, netns, ports } from "../../test/conformance/support/loopback.ts";
import { engineOptions } from "../../test/conformance/support/options.ts";

export interface Peers {
  readonly engine: string;
  readonly flowsEach: number;
  readonly server: { readonly address: string; readonly identity: CredentialSpec["identity"] };
  readonly clients: readonly { readonly address: string; readonly credential: CredentialSpec }[];
}

export interface PeersReport {
  /** Proven by a byte there and back. */
  readonly open: number;
}

const appPort = 8080;
/** Connections that are being opened at the same time. */
const atOnce = 64;

export function engineNamed(name: string): EngineKind {
  const kind = engines.find((engine) => engine.name === name);
  if (kind === undefined) throw new Error(`--engine ${name}: there are ${engines.map((one) => one.name).join(", ")}`);
  return kind;
}

/** Every client has one tunnel or a few, and all of them one pod. */
export function limits(clients: number): Partial<EngineLimits> {
  return { flows: 20_000, flowsPerPod: 20_000, inboundTunnelsPerPod: clients * 8, tunnelsPerGroup: 8 };
}

async function startClients({ engine: name, clients, server }: Peers): Promise<Engine> {
  const destination = { address: server.address, port: appPort };
  const engine: Engine = engineNamed(name).create(
    {
      sockets: addon,
      events: {
        flowArrived: ({ flow, pod }) => {
          const peer = { address: server.address, port: ports.hbone };
          const group = engine.group({ pod, peer, expectedIdentities: [server.identity] });
          const target = { group, authority: `${server.address}:${appPort}`, weight: 1 };
          engine.decide(flow, { kind: "carry", label: 1, targets: [target], baggage: "", forwardedHost: "" });
        },
        connectArrived: () => {},
        flowHandedOver: () => {},
        flowClosed: () => {},
        tunnelUp: () => {},
        tunnelDown: () => {},
        batchEnd: () => {},
      },
    },
    engineOptions({ limits: limits(clients.length) }),
  );
  for (const { address, credential } of clients) {
    const handle = engine.addCredential(credential.identity);
    engine.setCredential(handle, credential);
    engine.addPod({
      uid: credential.identity,
      netns,
      addresses: [address],
      listeners: [await listen(address, "outbound")],
      originalDestination: { kind: "fixed", destination },
      marks: { leave: 0, deliver: 0 },
      credential: handle,
    });
  }
  return engine;
}

async function startApplication(address: string): Promise<void> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (chunk) => socket.write(chunk));
  });
  server.listen({ host: address, port: appPort, backlog: 4096 });
  await once(server, "listening");
}

async function open(address: string): Promise<Socket> {
  // From the client's own address: that is what it has in a pod.
  const socket = connect({ host: address, port: ports.outbound, localAddress: address });
  const answered = once(socket, "data");
  socket.write("w");
  await answered;
  socket.on("error", () => {});
  return socket;
}

async function serve(cast: Peers): Promise<void> {
  await startApplication(cast.server.address);
  await startClients(cast);
  const wanted = cast.clients.flatMap(({ address }) => Array.from({ length: cast.flowsEach }, () => address));
  const held: Socket[] = [];
  while (held.length < wanted.length) {
    const next = wanted.slice(held.length, held.length + atOnce);
    held.push(...(await Promise.all(next.map(open))));
  }
  const report: PeersReport = { open: held.length };
  process.send?.(report);
}

if (import.meta.main) {
  process.once("message", (cast: Peers) => {
    serve(cast).catch((error: unknown) => {
      process.stderr.write(`${String(error)}\n`);
      process.exit(1);
    });
  });
  // Clients that outlive the one that they talk to would serve nobody.
  process.once("disconnect", () => process.exit());
}
