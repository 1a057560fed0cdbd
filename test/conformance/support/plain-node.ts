/**
 * Engines in an ordinary process, for children of tests that need limits, memory or CPU time of their own: what
 * `node-under-test.ts` is inside a test, without the test framework.
 */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import type { SocketAddress } from "../../../src/model/address.ts";
import type { Identity } from "../../../src/model/identity.ts";
import type { Reason } from "../../../src/model/reason.ts";
import type {
  ConnectArrived,
  CredentialHandle,
  CredentialSpec,
  Decision,
  Engine,
  FlowArrived,
  PodHandle,
} from "../../../src/tunnel/engine.ts";
import { type EngineKind, engines } from "./engines.ts";
import { addon, freshAddress, listen, netns, ports } from "./loopback.ts";
import { identity, MeshPki } from "./mesh-pki.ts";
import { engineOptions, type OptionOverrides } from "./options.ts";

export function engineNamed(name: string | undefined): EngineKind {
  const kind = engines.find((each) => each.name === name);
  if (kind === undefined) throw new Error(`no engine is called ${name}`);
  return kind;
}

export interface PlainPod {
  readonly handle: PodHandle;
  readonly address: string;
  readonly identity: Identity;
  readonly outbound: SocketAddress;
  readonly hbone: SocketAddress;
}

export class PlainNode {
  readonly engine: Engine;
  /** Closing records by reason. */
  readonly ended = new Map<Reason, number>();
  decideFlow: (event: FlowArrived) => Decision = () => ({ kind: "refuse", label: 0, reason: "internal" });
  decideConnect: (event: ConnectArrived) => Decision = () => ({ kind: "refuse", label: 0, reason: "internal" });

  constructor(kind: EngineKind, overrides: OptionOverrides = {}) {
    const events = {
      flowArrived: (event: FlowArrived) => this.engine.decide(event.flow, this.decideFlow(event)),
      connectArrived: (event: ConnectArrived) => this.engine.decide(event.flow, this.decideConnect(event)),
      flowHandedOver: () => {},
      flowClosed: ({ reason }: { reason: Reason }) => this.ended.set(reason, (this.ended.get(reason) ?? 0) + 1),
      tunnelUp: () => {},
      tunnelDown: () => {},
      batchEnd: () => {},
    };
    this.engine = kind.create({ events, sockets: addon }, engineOptions(overrides));
  }

  credential(spec: CredentialSpec): CredentialHandle {
    const handle = this.engine.addCredential(spec.identity);
    this.engine.setCredential(handle, spec);
    return handle;
  }

  async addPod(credential: CredentialHandle, who: Identity, destination: SocketAddress): Promise<PlainPod> {
    const address = freshAddress();
    const handle = this.engine.addPod({
      uid: `uid-${address}`,
      netns,
      addresses: [address],
      listeners: [await listen(address, "outbound"), await listen(address, "hbone")],
      originalDestination: { kind: "fixed", destination },
      marks: { leave: 0, deliver: 0 },
      credential,
    });
    const at = (role: "outbound" | "hbone") => ({ address, port: ports[role] });
    return { handle, address, identity: who, outbound: at("outbound"), hbone: at("hbone") };
  }

  dial(from: PlainPod, destination: SocketAddress): Decision {
    return {
      kind: "dial",
      label: 1,
      targets: [{ destination, weight: 1 }],
      from: from.handle,
      purpose: "deliver",
      baggage: "",
    };
  }

  carry(from: PlainPod, to: PlainPod, port: number): Decision {
    const group = this.engine.group({ pod: from.handle, peer: to.hbone, expectedIdentities: [to.identity] });
    return {
      kind: "carry",
      label: 1,
      targets: [{ group, authority: `${to.address}:${port}`, weight: 1 }],
      baggage: "",
      forwardedHost: "",
    };
  }
}

export interface PlainMesh {
  readonly pki: MeshPki;
  readonly client: PlainNode;
  readonly server: PlainNode;
  readonly caller: PlainPod;
  readonly callee: PlainPod;
}

/** A caller on one engine, a callee on another, and every flow carried from one to the other's application. */
export async function plainMesh(kind: EngineKind, app: SocketAddress, overrides: OptionOverrides): Promise<PlainMesh> {
  const pki = await MeshPki.create();
  const client = new PlainNode(kind, overrides);
  const server = new PlainNode(kind, overrides);
  const who = { caller: identity("caller"), callee: identity("callee") };
  const callee = await server.addPod(server.credential(await pki.credential(who.callee)), who.callee, app);
  const destination = { address: callee.address, port: app.port };
  const caller = await client.addPod(client.credential(await pki.credential(who.caller)), who.caller, destination);
  client.decideFlow = () => client.carry(caller, callee, app.port);
  server.decideConnect = () => server.dial(callee, app);
  return { pki, client, server, caller, callee };
}

export interface PlainApp extends SocketAddress {
  readonly server: Server;
  readonly connections: Set<Socket>;
}

export async function plainApp(handle: (socket: Socket) => void): Promise<PlainApp> {
  const connections = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    connections.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => connections.delete(socket));
    handle(socket);
  });
  server.listen({ port: 0, host: "127.0.0.1", backlog: 2048 });
  await once(server, "listening");
  return { address: "127.0.0.1", port: (server.address() as AddressInfo).port, server, connections };
}

/** A connection that is up, or that was closed before it was. */
export async function plainDial(to: SocketAddress): Promise<Socket> {
  const socket = connect({ host: to.address, port: to.port });
  socket.on("error", () => {});
  await new Promise((resolve) => {
    socket.once("connect", resolve);
    socket.once("close", resolve);
  });
  return socket;
}

/** The bytes come back: true; the connection breaks instead: false. */
export async function plainPing(socket: Socket, text = "x"): Promise<boolean> {
  socket.write(text);
  for (let got = 0; got < text.length; ) {
    const chunk = await new Promise<Buffer | undefined>((resolve) => {
      const over = () => resolve(undefined);
      socket.once("close", over);
      socket.once("data", (data: Buffer) => {
        socket.off("close", over);
        resolve(data);
      });
      if (socket.destroyed) over();
    });
    if (chunk === undefined) return false;
    got += chunk.length;
  }
  return true;
}

/** Looks again until it holds; throws with `what` if it never does. */
export async function until(what: string, condition: () => boolean, timeoutMs = 20_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`never: ${what}`);
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
  }
}
