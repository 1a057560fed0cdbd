/** A rotation of the root as control carries it on: agents that confirm, that are away, that lie behind; restarts and two replicas. */
import { beforeEach, describe, expect, test } from "vitest";
import type { AgentCensus, HeldCertificate } from "../../../src/control/authority/agent-census.ts";
import { Authority, authorityDefaults } from "../../../src/control/authority/authority.ts";
import { begin, excuse } from "../../../src/control/authority/root-rotation.ts";
import { RotationDriver } from "../../../src/control/authority/rotation-driver.ts";
import { readSigningRequest } from "../../../src/control/authority/signing-request.ts";
import { StateFolder } from "../../../src/control/authority/state-folder.ts";
import { createCertificateRequest } from "../../../src/identity/certificate-request.ts";
import { createWorkloadKey } from "../../../src/identity/key.ts";
import { formatIdentity } from "../../../src/identity/spiffe.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { RecordedLog } from "../../support/recorded-log.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

const api = formatIdentity({ trustDomain: "cluster.local", namespace: "production", serviceAccount: "api" });
const settleMs = 5000;
const outlivesMs = 36_000_000;

/** An agent that does what control says, when the test lets it. */
class Agent {
  #authority: Authority;
  #held: HeldCertificate | undefined;
  failure: Error | undefined;

  constructor(authority: Authority) {
    this.#authority = authority;
  }

  /** Takes the roots that it is told. */
  trust(): void {
    if (this.#held !== undefined) this.#held = { ...this.#held, trustBundle: this.#authority.roots };
  }

  async renew(): Promise<void> {
    const request = await createCertificateRequest(api, await createWorkloadKey());
    const { chain, serial } = await this.#authority.issue(api, await readSigningRequest(request), 0);
    const trustBundle = this.#held?.trustBundle ?? this.#authority.roots;
    this.#held = { identity: api, serial, chain: chain.slice(0, -1).join(""), trustBundle };
  }

  certificates(): HeldCertificate[] {
    if (this.failure !== undefined) throw this.failure;
    return this.#held === undefined ? [] : [this.#held];
  }
}

let clock: FakeClock;
let folder: string;
let required: string[];
let agents: Map<string, Agent>;

async function replica(connected: () => ReadonlyMap<string, Agent> = () => agents) {
  const log = new RecordedLog();
  const authority = new Authority(
    { vault: new StateFolder({ clock }, { folder }), clock, log },
    { trustDomain: "cluster.local", ...authorityDefaults },
  );
  await authority.start();
  const census: AgentCensus = {
    required: () => required,
    certificates: async (node) => connected().get(node)?.certificates(),
  };
  const driver = new RotationDriver(
    { authority, agents: census, clock, log },
    { settleMs, outlivesMs, roundMs: 1000, answerMs: 10_000 },
  );
  driver.start();
  const rotate = async () => {
    const next = await authority.nextIssuer();
    await authority.change((state) => begin(state, next, clock.now()));
  };
  const stop = async () => {
    await driver.stop();
    authority.stop();
  };
  return { authority, driver, log, rotate, stop };
}

beforeEach(async () => {
  clock = new FakeClock(Date.now());
  folder = await temporaryFolder();
  required = ["w1", "w2"];
  agents = new Map();
});

async function withAgents(authority: Authority, ...nodes: string[]): Promise<void> {
  for (const node of nodes) {
    const agent = new Agent(authority);
    agents.set(node, agent);
    await agent.renew();
  }
}

const all = (act: (agent: Agent) => unknown) => Promise.all([...agents.values()].map(act));
const eventually = <T>(look: () => T) =>
  expect.poll(
    () => {
      clock.advance(1000);
      return look();
    },
    { timeout: 30_000, interval: 10 },
  );
const rounds = async (count: number) => {
  for (let round = 0; round < count; round++) {
    clock.advance(1000);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};

describe("a rotation of the root", () => {
  test("takes each step when agents were seen to have done theirs, and ends with the old root gone", async () => {
    const { authority, driver, rotate } = await replica();
    await withAgents(authority, "w1", "w2");
    const old = authority.issuingRoot;
    await rotate();
    await eventually(() => driver.waiting?.reasons.size).toBe(2);
    expect([...(driver.waiting?.reasons ?? [])][0]).toEqual(["w1", `${api} does not trust the new root yet`]);
    await rounds(10);
    expect(authority.state.rotation?.phase).toBe("trust");

    await all((agent) => agent.trust());
    await eventually(() => authority.state.rotation?.phase).toBe("issue");
    expect(authority.issuingRoot).not.toBe(old);
    await eventually(() => driver.waiting?.reasons.get("w2")).toBe(`${api} still has a certificate of the old root`);
    expect(authority.roots.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);

    await all((agent) => agent.renew());
    await eventually(() => authority.state.rotation).toBeUndefined();
    expect(authority.roots.match(/BEGIN CERTIFICATE/g)).toHaveLength(1);
    expect(driver.waiting).toBeUndefined();
  });

  test("does not issue before the roots had time to reach every file, though all agents have confirmed", async () => {
    const { authority, rotate, driver } = await replica();
    await withAgents(authority, "w1", "w2");
    await rotate();
    const began = authority.state.rotation?.phaseSince ?? 0;
    await all((agent) => agent.trust());
    await eventually(() => driver.waiting?.waitingFor).toEqual([]);
    while (clock.now() < began + settleMs - 1000) await rounds(1);
    expect(authority.state.rotation?.phase).toBe("trust");
    await eventually(() => authority.state.rotation?.phase).toBe("issue");
    expect(clock.now()).toBeGreaterThanOrEqual(began + settleMs);
  });

  test.each<[string, (agent: Agent | undefined) => void, RegExp]>([
    ["is away", () => agents.delete("w2"), /not connected/],
    [
      "does not answer",
      (agent) => {
        if (agent !== undefined) agent.failure = new Error("timed out");
      },
      /does not answer: timed out/,
    ],
    [
      "has no certificate",
      () => agents.set("w2", { certificates: () => [] } as unknown as Agent),
      /has no certificate yet/,
    ],
  ])("waits for an agent that %s, and names it", async (_what, happen, reason) => {
    const { authority, rotate, driver } = await replica();
    await withAgents(authority, "w1", "w2");
    await rotate();
    await all((agent) => agent.trust());
    happen(agents.get("w2"));
    await eventually(() => driver.waiting?.reasons.get("w2")).toMatch(reason);
    await eventually(() => authority.state.rotation?.confirmed).toEqual(["w1"]);
    await rounds(10);
    expect(authority.state.rotation?.phase).toBe("trust");
    // Its node leaves the cluster, or somebody decides so.
    required = ["w1"];
    await eventually(() => authority.state.rotation?.phase).toBe("issue");
  });

  test("goes on without those that somebody excused, in that step alone", async () => {
    const { authority, rotate } = await replica();
    await withAgents(authority, "w1");
    await rotate();
    await all((agent) => agent.trust());
    await authority.change((state) => excuse(state, ["w2"]));
    await eventually(() => authority.state.rotation?.phase).toBe("issue");
    await all((agent) => agent.renew());
    await eventually(() => authority.state.rotation?.confirmed).toEqual(["w1"]);
    await rounds(5);
    expect(authority.state.rotation).toMatchObject({ phase: "issue", excused: [] });
  });

  test("goes on without a client that nobody can ask when no certificate of before is valid, and says so", async () => {
    const { authority, driver, rotate, log } = await replica();
    await withAgents(authority, "w1");
    await rotate();
    await all((agent) => agent.trust());
    await eventually(() => driver.waiting?.waitingFor).toEqual(["w2"]);
    const began = authority.state.rotation?.phaseSince ?? 0;
    clock.advance(began + outlivesMs - 10_000 - clock.now());
    await rounds(5);
    expect(authority.state.rotation?.phase).toBe("trust");
    clock.advance(10_000);
    await eventually(() => authority.state.rotation?.phase).toBe("issue");
    expect(log.lines.find(({ message }) => message.includes("it issues"))?.fields).toMatchObject({ unheard: ["w2"] });
    await all((agent) => agent.renew());
    await rounds(5);
    expect(authority.state.rotation?.phase).toBe("issue");
    clock.advance(outlivesMs);
    await eventually(() => authority.state.rotation).toBeUndefined();
  });

  test("waits, whatever the time, for an agent that says that it lies behind, of whichever replica", async () => {
    const only = (node: string) => () => new Map([...agents].filter(([name]) => name === node));
    const [one, two] = [await replica(only("w1")), await replica(only("w2"))];
    await withAgents(one.authority, "w1", "w2");
    await one.rotate();
    agents.get("w1")?.trust();
    clock.advance(outlivesMs / 2);
    await eventually(() => one.authority.state.rotation?.lagging).toEqual(["w2"]);
    clock.advance(outlivesMs);
    await rounds(10);
    for (const { authority } of [one, two]) expect(authority.state.rotation?.phase).toBe("trust");
    agents.get("w2")?.trust();
    await eventually(() => one.authority.state.rotation?.phase).toBe("issue");
    expect(one.authority.state.rotation).not.toHaveProperty("lagging");
  });

  test("goes on after a restart in each of its phases", async () => {
    const first = await replica();
    await withAgents(first.authority, "w1", "w2");
    await first.rotate();
    await first.stop();
    const second = await replica();
    expect(second.authority.state.rotation?.phase).toBe("trust");
    for (const node of ["w1", "w2"]) agents.set(node, new Agent(second.authority));
    await all((agent) => agent.renew());
    await eventually(() => second.authority.state.rotation?.phase).toBe("issue");
    await second.stop();
    const third = await replica();
    expect(third.authority.state.rotation?.phase).toBe("issue");
    for (const node of ["w1", "w2"]) agents.set(node, new Agent(third.authority));
    await all((agent) => agent.renew());
    await eventually(() => third.authority.state.rotation).toBeUndefined();
  });

  test("is carried on by two replicas, of which each sees only its own agents", async () => {
    const only = (node: string) => () => new Map([...agents].filter(([name]) => name === node));
    const [one, two] = [await replica(only("w1")), await replica(only("w2"))];
    await withAgents(one.authority, "w1", "w2");
    await one.rotate();
    await all((agent) => agent.trust());
    await eventually(() => [one, two].map(({ authority }) => authority.state.rotation?.phase)).toEqual([
      "issue",
      "issue",
    ]);
    await all((agent) => agent.renew());
    await eventually(() => [one, two].map(({ authority }) => authority.state.rotation)).toEqual([undefined, undefined]);
    expect(one.authority.issuingRoot).toBe(two.authority.issuingRoot);
    const retired = [one, two].flatMap(({ log }) => log.messages("info").filter((text) => text.includes("retired")));
    expect(retired).toHaveLength(1);
  });
});
