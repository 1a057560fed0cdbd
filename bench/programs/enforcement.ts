/**
 * How long a change takes in the agent: from the arrival of the control plane's bytes to the end of the last flow that it forbids.
 * Changes of every kind that can forbid something (`enforcement-changes.ts`) come one by one. Each forbids one client, whose flows must
 * all end, and nobody else's; then it is undone and the client connects anew. The first change of each kind is not counted. Prints one
 * JSON document.
 *
 *   node bench/programs/enforcement.ts --engine native [--clients 20] [--flows 200] [--workloads 10000] [--policies 1000] [--changes 100]
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { Identity } from "../../src/model/identity.ts";
import type { FlowClosed } from "../../src/tunnel/engine.ts";
import { encodeSettings } from "../../src/xds/resources/settings.ts";
import { encodeWorkload } from "../../src/xds/resources/workload.ts";
import { freshAddress } from "../../test/conformance/support/loopback.ts";
import { MeshPki } from "../../test/conformance/support/mesh-pki.ts";
import { settings, workload } from "../../test/mesh/build.ts";
import { quantile } from "../statistics.ts";
import { BenchAgent } from "./enforcement-agent.ts";
import { type ChangeKind, changeKinds, type Stage, standingPolicies, type Victim } from "./enforcement-changes.ts";
import { type Cast, type Client, engineNamed, type FromPeers, machineNow, type ToPeers } from "./enforcement-peers.ts";

const { values: options } = parseArgs({
  options: {
    engine: { type: "string", default: "native" },
    clients: { type: "string", default: "20" },
    flows: { type: "string", default: "200" },
    workloads: { type: "string", default: "10000" },
    policies: { type: "string", default: "1000" },
    changes: { type: "string", default: "100" },
    kinds: { type: "string", default: "" },
  },
});
const flowsEach = Number(options.flows);
const patience = Number(process.env["PAT"] ?? 60_000);
/** What the harness itself sets going (connections, their garbage) comes to rest before the next change. */
const restMs = 15;
engineNamed(options.engine);

const pki = await MeshPki.create();
const server = workload("server", freshAddress(), { node: "server-node" });
const bare = workload("bare", freshAddress(), { node: "server-node" });
const callers = Array.from({ length: Number(options.clients) }, (_, index) =>
  workload(`client-${index}`, freshAddress()),
);
const unlisted = workload("unlisted", freshAddress());
const outsider = workload("outsider", freshAddress(), { tunnel: "none" });
const crowd = Array.from({ length: Number(options.workloads) }, (_, index) =>
  workload(`other-${index}`, `10.${100 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`, { node: "elsewhere" }),
);

/** The flows whose end a change asks for. */
interface Cut {
  readonly peer: Identity | "";
  readonly at: number[];
  readonly all: PromiseWithResolvers<void>;
}
let cut: Cut | undefined;
const strays: string[] = [];

function flowClosed({ peer, reason, role, destination }: FlowClosed): void {
  if (cut === undefined || cut.peer !== peer || !reasons.has(reason)) {
    strays.push(`${role} of ${peer || "nobody"} to ${destination.address}: ${reason}`);
    return;
  }
  if (cut.at.push(machineNow()) === flowsEach) cut.all.resolve();
}
/** Of a flow that was cut, or whose tunnel was. */
const reasons: ReadonlySet<string> = new Set(["policy-changed", "certificate-revoked", "tunnel-lost"]);

const agent = new BenchAgent({ engine: options.engine, peers: callers.length + 1 }, flowClosed);

const revocationLists = new Map<string, string>();
const clients: Client[] = [];
for (const { name, identity, addresses } of [...callers, unlisted]) {
  const papers = await pki.issue(identity);
  revocationLists.set(name, await pki.crl([papers.serial]));
  clients.push({
    name,
    address: addresses[0] ?? "",
    server: (name === unlisted.name ? bare : server).addresses[0] ?? "",
    credential: {
      identity,
      chain: papers.chain,
      privateKey: papers.key,
      trustBundle: papers.trust,
      trustDomains: [settings.trustDomain],
      crl: "",
      deniedIdentities: [],
    },
  });
}
clients.push({
  name: outsider.name,
  address: outsider.addresses[0] ?? "",
  server: server.addresses[0] ?? "",
  credential: undefined,
});

const stage: Stage = {
  clients: callers,
  server,
  outsider: outsider.name,
  unlisted: unlisted.name,
  revocationList: ({ name }: Victim) => revocationLists.get(name) ?? "",
};
await agent.hear({ type: "settings", set: [encodeSettings(settings)] });
await agent.hear(standingPolicies(stage, Number(options.policies)));
const known = [...callers, unlisted, outsider, ...crowd];
await agent.hear({ type: "address", set: known.map((one) => encodeWorkload(one, new Map(), [])) });
for (const pod of [server, bare]) await agent.addPod(pod, await pki.credential(pod.identity));

/** The clients' process: asks, and waits for what it says. */
class PeersProcess {
  readonly #child: ChildProcess = fork(fileURLToPath(new URL("enforcement-peers.ts", import.meta.url)), {
    serialization: "advanced",
  });
  readonly #waiting = new Map<string, (message: FromPeers) => void>();
  readonly #gone: Promise<never>;

  constructor() {
    this.#child.on("message", (message: FromPeers) => this.#waiting.get(`${message.kind} ${message.name}`)?.(message));
    this.#gone = once(this.#child, "exit").then(([code, signal]) => {
      throw new Error(`the clients' process ended with ${signal ?? code}`);
    });
    this.#gone.catch(() => {});
  }

  tell(message: ToPeers): void {
    this.#child.send(message);
  }

  hear<K extends FromPeers["kind"]>(kind: K, name: string): Promise<Extract<FromPeers, { kind: K }>> {
    const heard = new Promise<FromPeers>((resolve) => this.#waiting.set(`${kind} ${name}`, resolve));
    return Promise.race([heard, this.#gone, tooLate(`${kind} ${name}`)]) as Promise<Extract<FromPeers, { kind: K }>>;
  }

  stop(): void {
    this.#child.kill();
  }
}

function tooLate(what: string): Promise<never> {
  return pause(patience, undefined, { ref: false }).then(() => {
    throw new Error(`waited for ${what} in vain`);
  });
}

interface Taken {
  /** From the arrival to each flow's closing record, and to what each client saw; milliseconds. */
  readonly flows: readonly number[];
  readonly clients: readonly number[];
  /** Of the deciding thread until it had done its part. */
  readonly thread: number;
}

async function measure(peers: PeersProcess, kind: ChangeKind, index: number): Promise<Taken> {
  const { victim, forbid, permit } = kind.at(index);
  const { credential } = clients.find(({ name }) => name === victim) ?? {};
  const bytes = agent.encode(forbid);
  const seen = peers.hear("ended", victim);
  await pause(restMs);
  const now: Cut = { peer: credential?.identity ?? "", at: [], all: Promise.withResolvers<void>() };
  cut = now;
  const before = process.threadCpuUsage();
  const arrived = machineNow();
  await agent.take(bytes);
  await agent.settled();
  const spent = process.threadCpuUsage(before);
  await Promise.race([now.all.promise, tooLate(`the end of ${victim}'s flows after ${kind.name}`)]);
  const { at } = await seen;
  if (strays.length > 0) throw new Error(`${kind.name} ended ${strays.length} other flows: ${strays[0]}`);
  await agent.hear(permit);
  await agent.settled();
  const opened = peers.hear("opened", victim);
  peers.tell({ kind: "open", name: victim });
  await opened;
  cut = undefined;
  const { open } = agent.stats();
  if (open !== clients.length * flowsEach) throw new Error(`${open} flows are open after ${kind.name}`);
  return {
    flows: now.at.map((time) => time - arrived),
    clients: at.map((time) => time - arrived),
    thread: (spent.user + spent.system) / 1000,
  };
}

function spread(values: readonly number[]) {
  return { p50: quantile(values, 0.5), p99: quantile(values, 0.99), max: Math.max(...values) };
}

function report(taken: readonly Taken[]) {
  return {
    changes: taken.length,
    flowMs: spread(taken.flatMap(({ flows }) => flows)),
    changeMs: spread(taken.map(({ flows }) => Math.max(...flows))),
    clientMs: spread(taken.map(({ clients: seen }) => Math.max(...seen))),
    threadMs: { mean: taken.reduce((sum, { thread }) => sum + thread, 0) / taken.length },
  };
}

const peers = new PeersProcess();
try {
  const cast: Cast = {
    engine: options.engine,
    flowsEach,
    servers: new Map([server, bare].map(({ addresses: [address = ""], identity }) => [address, identity])),
    clients,
  };
  const opened = Promise.all(clients.map(({ name }) => peers.hear("opened", name)));
  peers.tell({ kind: "cast", cast });
  await opened;
  const wanted = options.kinds.split(",").filter((name) => name !== "");
  const kinds = changeKinds(stage).filter(({ name }) => wanted.length === 0 || wanted.includes(name));
  const results = new Map<string, Taken[]>(kinds.map(({ name }) => [name, []]));
  for (let index = 0; index <= Number(options.changes); index += 1) {
    for (const kind of kinds) {
      const taken = await measure(peers, kind, index);
      if (index > 0) results.get(kind.name)?.push(taken);
    }
  }
  const result = {
    engine: options.engine,
    flows: clients.length * flowsEach,
    ...report([...results.values()].flat()),
    kinds: Object.fromEntries([...results].map(([name, taken]) => [name, report(taken)])),
  };
  if (agent.failures.length > 0) throw new Error(`the agent failed: ${String(agent.failures[0])}`);
  process.stdout.write(`${JSON.stringify(result)}\n`);
} finally {
  cut = undefined;
  peers.stop();
  await agent.stop();
}
// Descriptors that the engines were given may keep the loop alive.
process.exit(process.exitCode ?? 0);
