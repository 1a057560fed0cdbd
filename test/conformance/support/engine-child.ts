/**
 * One engine, or one application, in a process of its own, told what to do over IPC: for tests that count a process's descriptors, limit
 * them, or hold more flows than one process may have sockets. Arguments: an engine's name, or `echo`.
 */
import type { SocketAddress } from "../../../src/model/address.ts";
import type { CredentialSpec, Decision, EngineStats, RememberField, TunnelId } from "../../../src/tunnel/engine.ts";
import type { OptionOverrides } from "./options.ts";
import { engineNamed, type PlainApp, PlainNode, type PlainPod, plainApp } from "./plain-node.ts";

/** Where a pod's flows go: to an application in the clear, or to a peer's pod over HBONE. */
export type Destination =
  | { readonly kind: "dial"; readonly app: SocketAddress }
  | { readonly kind: "carry"; readonly peer: SocketAddress; readonly identity: CredentialSpec["identity"] };

export type Order =
  | {
      readonly do: "start";
      readonly options: OptionOverrides;
      readonly credential: CredentialSpec;
      readonly to: Destination;
      /** Whether decisions may be repeated by the engine alone. */
      readonly remember?: boolean;
    }
  | { readonly do: "report" }
  /** Garbage, so that what is left is in use. */
  | { readonly do: "collect" }
  /** What nodes live through: another certificate, a new state of the mesh, every tunnel lost, a pod that came and went. */
  | { readonly do: "disturb"; readonly credential: CredentialSpec }
  | { readonly do: "stop" };

export interface Started {
  readonly outbound: SocketAddress;
  readonly hbone: SocketAddress;
  /** Of a second pod. */
  readonly neighbour: SocketAddress;
}

export interface OwnReport {
  readonly stats: EngineStats;
  /** Closing records by reason. */
  readonly ended: Readonly<Record<string, number>>;
  /** CPU time of the process so far, in milliseconds. */
  readonly cpuMs: number;
}

const [role = ""] = process.argv.slice(2);
let node: PlainNode | undefined;
let app: PlainApp | undefined;
let disturb: (credential: CredentialSpec) => Promise<void> = () => Promise.resolve();

async function startEngine(order: Extract<Order, { do: "start" }>): Promise<Started> {
  const { to, credential } = order;
  const started = new PlainNode(engineNamed(role), order.options);
  const who = credential.identity;
  const handle = started.credential(credential);
  const destination = { address: "10.0.0.1", port: 80 };
  const pod = await started.addPod(handle, who, destination);
  const neighbour = await started.addPod(handle, who, destination);
  let epoch = 1;
  disturb = async (renewed) => {
    const { engine } = started;
    engine.setCredential(handle, renewed);
    epoch += 1;
    engine.advanceEpoch(epoch);
    const tunnels: TunnelId[] = [];
    engine.tunnels(({ tunnel }) => tunnels.push(tunnel));
    engine.closeTunnels(tunnels, "closed-by-operator");
    const passing = await started.addPod(handle, who, destination);
    await engine.removePod(passing.handle, { graceMs: 0, reason: "pod-removed" });
  };
  const decide = () =>
    to.kind === "dial"
      ? started.dial(pod, to.app)
      : started.carry(
          pod,
          { ...pod, address: to.peer.address, hbone: to.peer, identity: to.identity } satisfies PlainPod,
          80,
        );
  const remembered = (field: RememberField) => (): Decision => ({
    ...decide(),
    ...(order.remember === true && { remember: { fields: [field], epoch } }),
  });
  started.decideFlow = remembered("destination");
  started.decideConnect = remembered("peer-identity");
  node = started;
  return { outbound: pod.outbound, hbone: pod.hbone, neighbour: neighbour.outbound };
}

function report(): OwnReport {
  if (node === undefined) throw new Error("not started");
  const { user, system } = process.cpuUsage();
  return {
    stats: node.engine.stats(),
    ended: Object.fromEntries(node.ended),
    cpuMs: (user + system) / 1_000,
  };
}

async function carryOut(order: Order): Promise<unknown> {
  switch (order.do) {
    case "start":
      return startEngine(order);
    case "report":
      return report();
    case "collect":
      return globalThis.gc?.();
    case "disturb":
      return disturb(order.credential);
    case "stop":
      await node?.engine.stop();
      return undefined;
  }
}

process.on("message", (order: Order) => {
  void carryOut(order).then(
    (answer) => process.send?.({ answer }),
    (error: unknown) => process.send?.({ error: String(error) }),
  );
});
process.on("disconnect", () => process.exit());

if (role === "echo") app = await plainApp((socket) => socket.pipe(socket));
process.send?.({ answer: app === undefined ? undefined : { address: app.address, port: app.port } });
