/**
 * How long a change of policy takes in the agent: from the arrival of the control plane's bytes to the end of the flows that it forbids.
 * The agent under measure is real from the discovery response inwards (decoding, mesh index, driver, engine); clients, their agent and
 * the application are a process of their own, all on loopback. Each change forbids one client's identity, whose flows must end, and
 * nobody else's. Prints one JSON document.
 *
 *   node bench/programs/enforcement.ts --engine native [--clients 20] [--flows 200] [--workloads 10000]
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { ResourceStore } from "../../src/control/discovery/resource-store.ts";
import { encodeResponse } from "../../src/control/discovery/response-codec.ts";
import type { AuthorizationPolicy } from "../../src/model/authorization.ts";
import type { Identity } from "../../src/model/identity.ts";
import { TunnelDriver } from "../../src/tunnel/tunnel-driver.ts";
import { DiscoveryState } from "../../src/xds/client/discovery-state.ts";
import { readResponse } from "../../src/xds/client/response-reader.ts";
import { encodeLocalPod } from "../../src/xds/resources/local-pod.ts";
import { encodeAuthorizationPolicy } from "../../src/xds/resources/policy.ts";
import { type NamedResource, type ResourceType, resourceTypes } from "../../src/xds/resources/resource-types.ts";
import { encodeSettings } from "../../src/xds/resources/settings.ts";
import { encodeWorkload } from "../../src/xds/resources/workload.ts";
import { addon, freshAddress, listen, netns } from "../../test/conformance/support/loopback.ts";
import { MeshPki } from "../../test/conformance/support/mesh-pki.ts";
import { engineOptions } from "../../test/conformance/support/options.ts";
import { authorizationPolicy, localPod, settings, workload } from "../../test/mesh/build.ts";
import { quantile } from "../statistics.ts";
import { engineNamed, limits, type Peers, type PeersReport } from "./enforcement-peers.ts";

const { values: options } = parseArgs({
  options: {
    engine: { type: "string", default: "native" },
    clients: { type: "string", default: "20" },
    flows: { type: "string", default: "200" },
    workloads: { type: "string", default: "10000" },
  },
});
const [clientCount, flowsEach] = [Number(options.clients), Number(options.flows)];
const patience = 60_000;

/** The agent's state as discovery fills it, byte for byte what would come from the network. */
class Discovery {
  readonly state = new DiscoveryState(settings, "server-node");
  readonly #store = new ResourceStore();

  async hear(type: ResourceType, ...resources: readonly NamedResource[]): Promise<void> {
    for (const resource of resources) this.#store.set(type, resource);
    const frames = resources.flatMap(({ name }) => this.#store.get(type, name)?.frame ?? []);
    await this.arrive(type, frames);
  }

  /** A response of this one resource, ready to arrive. */
  encode(type: ResourceType, resource: NamedResource): Buffer {
    this.#store.set(type, resource);
    return this.#response(type, [this.#store.get(type, resource.name)?.frame ?? new Uint8Array()]);
  }

  async take(bytes: Buffer): Promise<void> {
    const wrong = await this.state.apply(readResponse(bytes));
    if (wrong !== "") throw new Error(`the agent rejects what it was sent: ${wrong}`);
  }

  arrive(type: ResourceType, frames: readonly Uint8Array[]): Promise<void> {
    return this.take(this.#response(type, frames));
  }

  #response(type: ResourceType, frames: readonly Uint8Array[]): Buffer {
    return encodeResponse({ typeUrl: resourceTypes[type], nonce: "1", version: "1", removed: [], frames, more: false });
  }
}

const pki = await MeshPki.create();
const discovery = new Discovery();
const server = workload("server", freshAddress(), { node: "server-node" });
const clients = Array.from({ length: clientCount }, (_, index) =>
  workload(`client-${index}`, freshAddress(), { node: "client-node" }),
);

/** When each flow's record came, by the identity of its peer; when there is one to listen for. */
let cut: { readonly identity: Identity; readonly times: number[]; readonly all: () => void } | undefined;
const strays: string[] = [];

const driver = new TunnelDriver(
  {
    engine: (events) =>
      engineNamed(options.engine).create({ events, sockets: addon }, engineOptions({ limits: limits(clientCount) })),
    mesh: {
      view: discovery.state.index,
      onChange: (listener) => discovery.state.index.onChange(listener),
      start: async () => {},
      stop: async () => {},
    },
    telemetry: {
      flowClosed: ({ reason, peer }) => {
        if (cut === undefined) return;
        if (peer !== cut.identity || reason !== "policy-changed") strays.push(`${peer}: ${reason}`);
        else if (cut.times.push(performance.now()) === flowsEach) cut.all();
      },
      tunnelUp: () => {},
      tunnelDown: () => {},
      internalError: (error) => {
        throw error;
      },
    },
  },
  { unknownSourceHold: 5000 },
);
driver.start();
const crowd = Array.from({ length: Number(options.workloads) }, (_, index) =>
  workload(`other-${index}`, `10.${100 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`, { node: "elsewhere" }),
);
await discovery.hear("settings", encodeSettings(settings));
await discovery.hear("policy");
await discovery.hear("address", ...[server, ...clients, ...crowd].map((one) => encodeWorkload(one, new Map(), [])));
await discovery.hear("localPod", encodeLocalPod({ ...localPod(server), networkPolicy: "none" }));
driver.addPod(localPod(server), {
  netns: { fd: netns },
  listeners: [await listen(server.addresses[0] ?? "", "hbone")],
  originalDestination: { kind: "conntrack" },
  marks: { leave: 0, deliver: 0 },
});
driver.setCredential(server.identity, await pki.credential(server.identity));

function deny(names: readonly string[]): AuthorizationPolicy {
  const principals = names.map((name) => `cluster.local/ns/shop/sa/${name}`);
  return authorizationPolicy("DENY", [{ from: [{ principals }] }], { matchLabels: new Map([["app", "server"]]) });
}

async function openFlows(peers: ChildProcess): Promise<void> {
  const cast: Peers = {
    engine: options.engine,
    flowsEach,
    server: { address: server.addresses[0] ?? "", identity: server.identity },
    clients: await Promise.all(
      clients.map(async ({ addresses: [address = ""], identity }) => ({
        address,
        credential: await pki.credential(identity),
      })),
    ),
  };
  const said = once(peers, "message", { signal: AbortSignal.timeout(patience) });
  peers.send(cast);
  const [report] = (await Promise.race([said, ended(peers)])) as [PeersReport];
  if (report.open !== clientCount * flowsEach)
    throw new Error(`${report.open} of ${clientCount * flowsEach} flows opened`);
}

async function ended(child: ChildProcess): Promise<never> {
  const [code, signal] = (await once(child, "exit")) as [number | null, string | null];
  throw new Error(`the clients' process ended with ${signal ?? code}`);
}

const peers = fork(fileURLToPath(new URL("enforcement-peers.ts", import.meta.url)), { serialization: "advanced" });
try {
  await openFlows(peers);
  const times: number[] = [];
  const whole: number[] = [];
  const thread: number[] = [];
  for (let index = 0; index < clientCount; index += 1) {
    const denied = clients.slice(0, index + 1).map(({ name }) => name);
    const bytes = discovery.encode("policy", encodeAuthorizationPolicy(deny(denied)));
    const { promise, resolve } = Promise.withResolvers<void>();
    const identity = clients[index]?.identity;
    if (identity === undefined) break;
    cut = { identity, times: [], all: resolve };
    const before = process.threadCpuUsage();
    const arrived = performance.now();
    await discovery.take(bytes);
    const spent = process.threadCpuUsage(before);
    thread.push((spent.user + spent.system) / 1000);
    const timeout = AbortSignal.timeout(patience);
    timeout.addEventListener("abort", () => resolve());
    await promise;
    if (cut.times.length !== flowsEach) throw new Error(`${cut.times.length} of ${flowsEach} flows ended`);
    const taken = cut.times.map((time) => time - arrived);
    times.push(...taken);
    whole.push(Math.max(...taken));
    await driver.settled();
  }
  if (strays.length > 0) throw new Error(`flows ended that were allowed: ${strays[0]} and ${strays.length - 1} more`);
  const result = {
    engine: options.engine,
    flows: clientCount * flowsEach,
    changes: clientCount,
    flowMs: { p50: quantile(times, 0.5), p99: quantile(times, 0.99) },
    changeMs: { p50: quantile(whole, 0.5), max: Math.max(...whole) },
    threadMs: { mean: thread.reduce((sum, one) => sum + one, 0) / thread.length },
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
} finally {
  cut = undefined;
  peers.kill();
  await driver.stop();
}
// Descriptors that the engines were given may keep the loop alive.
process.exit(process.exitCode ?? 0);
