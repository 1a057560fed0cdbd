/** Changes of the mesh while connections are open and their decisions are remembered: what is now forbidden ends, and nothing else. */
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { type MeshDelta, MeshIndex } from "../../src/mesh/mesh-index.ts";
import type { AuthorizationPolicy } from "../../src/model/authorization.ts";
import type { Identity } from "../../src/model/identity.ts";
import type { FlowClosed } from "../../src/tunnel/engine.ts";
import { TunnelDriver } from "../../src/tunnel/tunnel-driver.ts";
import {
  authorizationPolicy,
  identity as identityIn,
  localPod,
  peerAuthentication,
  settings,
  workload,
} from "../mesh/build.ts";
import { closeCode, dialApp, echo, ping, watchErrors } from "./support/apps.ts";
import { type EngineKind, engines } from "./support/engines.ts";
import { addon, freshAddress, listen, netns, ports } from "./support/loopback.ts";
import { MeshPki } from "./support/mesh-pki.ts";
import { engineOptions } from "./support/options.ts";
import { type RawClient, rawClient, rawConnect } from "./support/raw-peers.ts";

const web = identityIn("shop", "web");
const other = identityIn("shop", "other");

let pki: MeshPki;
beforeAll(async () => {
  pki = await MeshPki.create();
});

const onServer = new Map([["app", "server"]]);

function denyWeb(overrides: Partial<AuthorizationPolicy> = {}): AuthorizationPolicy {
  const rule = { from: [{ principals: ["cluster.local/ns/shop/sa/web"] }] };
  return authorizationPolicy("DENY", [rule], { matchLabels: onServer, ...overrides });
}

/** Open at the start: both identities' tunnelled flows and a plaintext one to `server`, and one of `web` to `listed`. */
type Party = "web" | "other" | "plaintext" | "web to listed";
const everybody: readonly Party[] = ["web", "other", "plaintext", "web to listed"];

interface Case {
  readonly name: string;
  readonly before?: MeshDelta;
  /** `labels` are the server's own from then on. */
  readonly change: MeshDelta | { readonly labels: Record<string, string> };
  readonly cut: readonly Party[];
}

const cases: readonly Case[] = [
  { name: "a policy that is new", change: { authorizationPolicies: [denyWeb()] }, cut: ["web"] },
  {
    name: "a policy that says something else than before",
    before: { authorizationPolicies: [authorizationPolicy("DENY", [{ from: [{ namespaces: ["nowhere"] }] }])] },
    change: { authorizationPolicies: [{ ...denyWeb(), matchLabels: undefined }] },
    cut: ["web", "web to listed"],
  },
  {
    name: "an ALLOW policy, where there was none",
    change: {
      authorizationPolicies: [
        authorizationPolicy("ALLOW", [{ from: [{ serviceAccounts: ["other"] }] }], { matchLabels: onServer }),
      ],
    },
    cut: ["web", "plaintext"],
  },
  {
    name: "a policy that is gone",
    before: {
      authorizationPolicies: [
        authorizationPolicy("ALLOW", [{}], { name: "everybody", matchLabels: onServer }),
        authorizationPolicy("ALLOW", [{ from: [{ serviceAccounts: ["other"] }] }], { matchLabels: onServer }),
      ],
    },
    change: { removedAuthorizationPolicies: ["shop/everybody"] },
    cut: ["web", "plaintext"],
  },
  {
    name: "a pod's label by which a policy selects it",
    before: { authorizationPolicies: [denyWeb({ matchLabels: new Map([["quarantine", "yes"]]) })] },
    change: { labels: { quarantine: "yes" } },
    cut: ["web"],
  },
  {
    name: "an identity that is denied",
    change: { settings: { ...settings, deniedIdentities: [web] } },
    cut: ["web", "web to listed"],
  },
  {
    name: "STRICT for the namespace",
    change: { peerAuthentications: [peerAuthentication({ mode: "STRICT" })] },
    cut: ["plaintext"],
  },
  {
    name: "DISABLE for one workload",
    change: { peerAuthentications: [peerAuthentication({ mode: "DISABLE", matchLabels: onServer })] },
    cut: ["web", "other"],
  },
  {
    name: "default deny for the mesh",
    change: { settings: { ...settings, defaultAction: "deny" } },
    cut: ["web", "other", "plaintext"],
  },
  {
    name: "a policy that cannot be evaluated",
    change: { authorizationPolicies: [denyWeb({ problems: ["from[0]: an unknown field"] })] },
    cut: ["web", "other", "plaintext"],
  },
];

describe.each(engines)("over the $name engine", (kind: EngineKind) => {
  async function start({ before = {} }: Pick<Case, "before"> = {}) {
    const closed: FlowClosed[] = [];
    const index = new MeshIndex(settings);
    const server = workload("server", freshAddress());
    const listed = workload("listed", freshAddress());
    index.apply({
      workloads: [server, listed],
      authorizationPolicies: [
        authorizationPolicy("ALLOW", [{}], { name: "listed", matchLabels: new Map([["app", "listed"]]) }),
      ],
    });
    index.apply(before);
    const mesh = {
      view: index,
      onChange: index.onChange.bind(index),
      start: async () => undefined,
      stop: async () => undefined,
    };
    const failures: unknown[] = [];
    const driver = new TunnelDriver(
      {
        engine: (events) => kind.create({ events, sockets: addon }, engineOptions()),
        mesh,
        telemetry: {
          flowClosed: (record) => closed.push({ ...record }),
          tunnelUp: () => undefined,
          tunnelDown: () => undefined,
          internalError: (error) => failures.push(error),
        },
      },
      { unknownSourceHold: 5000 },
    );
    onTestFinished(async () => {
      await driver.stop();
      expect(failures).toEqual([]);
    });
    driver.start();
    const port = await startApp(server.addresses[0] ?? "");
    await startApp(listed.addresses[0] ?? "", port);
    for (const pod of [server, listed]) {
      const [address = ""] = pod.addresses;
      driver.addPod(localPod(pod), {
        netns: { fd: netns },
        listeners: [await listen(address, "hbone"), await listen(address, "inbound")],
        originalDestination: { kind: "fixed", destination: { address, port } },
        marks: { leave: 0, deliver: 0 },
      });
      driver.setCredential(pod.identity, await pki.credential(pod.identity));
    }
    const door = (of: typeof server, role: "hbone" | "inbound") => ({
      address: of.addresses[0] ?? "",
      port: ports[role],
    });
    const tunnel = async (who: Identity, to: typeof server): Promise<RawClient> =>
      rawClient(door(to, "hbone"), await pki.issue(who));
    const tunnels = {
      web: await tunnel(web, server),
      other: await tunnel(other, server),
      "web to listed": await tunnel(web, listed),
    } as const;
    /** One more connection of a party: what it answers to a byte, or the status or end that it met instead. */
    const call = async (party: Party): Promise<Call> => {
      if (party === "plaintext") return plaintextCall(await dialApp(door(server, "inbound")));
      const to = party === "web to listed" ? listed : server;
      const { stream, headers } = await rawConnect(tunnels[party].session, `${to.addresses[0]}:${port}`);
      if (Number(headers[":status"]) !== 200) return { let: false };
      return {
        let: true,
        ask: async () => {
          stream.write("x");
          const [chunk] = (await once(stream, "data")) as [Buffer];
          return chunk.toString();
        },
      };
    };
    return { index, server, driver, closed, call };
  }

  it.each(cases)("$name ends what it forbids, remembered decisions too, and nothing else", async (one) => {
    const { index, server, driver, closed, call } = await start(one);
    const open = new Map<Party, Call>();
    for (const party of everybody) {
      // The second is let in by what is remembered of the first.
      for (let count = 0; count < 2; count += 1) {
        const made = await call(party);
        expect(made.let, `${party} before the change`).toBe(true);
        if (made.let) expect(await made.ask()).toBe("x");
        open.set(party, made);
      }
    }
    expect(driver.engineStats().rememberedHitsTotal).toBe(everybody.length);
    const { change } = one;
    const delta: MeshDelta =
      "labels" in change
        ? { workloads: [workload("server", server.addresses[0] ?? "", { labels: change.labels })] }
        : change;
    index.apply(delta);
    const { length } = one.cut;
    await expect.poll(() => closed.length, { timeout: 60_000, interval: 10 }).toBeGreaterThanOrEqual(2 * length);
    await driver.settled();
    for (const party of everybody) {
      const allowed = !one.cut.includes(party);
      const held = open.get(party);
      if (allowed && held?.let === true) expect(await held.ask(), `${party}'s open flow`).toBe("x");
      expect((await call(party)).let, `${party} after the change`).toBe(allowed);
    }
    const ended = closed.filter(({ reason }) => reason === "policy-changed");
    expect(ended).toHaveLength(2 * length);
    expect(driver.stats().policyClosedTotal).toBe(2 * length);
  });

  it("a policy for other pods makes nobody ask about these", async () => {
    const { index, driver, call } = await start();
    const made = await call("web");
    const judged = () => driver.stats().rejudgedTotal;
    const before = judged();
    index.apply({ authorizationPolicies: [denyWeb({ namespace: "elsewhere" })] });
    index.apply({ authorizationPolicies: [denyWeb({ matchLabels: new Map([["app", "another"]]) })] });
    index.apply({ peerAuthentications: [peerAuthentication({ namespace: "elsewhere", mode: "STRICT" })] });
    expect(judged()).toBe(before);
    if (made.let) expect(await made.ask()).toBe("x");
    index.apply({ authorizationPolicies: [denyWeb({ name: "once", matchLabels: new Map([["app", "listed"]]) })] });
    expect(judged()).toBe(before);
    index.apply({ authorizationPolicies: [denyWeb({ name: "again", rules: [] })] });
    expect(judged()).toBe(before + 1);
  });
});

type Call = { readonly let: true; ask(): Promise<string> } | { readonly let: false };

/** Nothing answers a refused plaintext connection: it is reset, before or after its first byte. */
async function plaintextCall(socket: Socket): Promise<Call> {
  const ask = () => ping(socket, "x");
  const first = await Promise.race([ask().catch(() => ""), closeCode(socket).then(() => "")]);
  return first === "x" ? { let: true, ask } : { let: false };
}

/** On the pod's own address; the port is chosen unless one is given. */
async function startApp(host: string, port = 0): Promise<number> {
  const held: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    held.push(watchErrors(socket));
    echo(socket);
  });
  server.listen({ host, port });
  await once(server, "listening");
  onTestFinished(() => {
    for (const socket of held) socket.destroy();
    server.close();
  });
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}
