/** The whole way over real gRPC: an agent's client, control's services, a person's client; who may do what, and what a loss costs. */
import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { rowsOf } from "../../../src/cli/query/asked.ts";
import { MeshClient } from "../../../src/cli/query/mesh-client.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { InspectionClient } from "../../../src/node/inspection/inspection-client.ts";
import type { AnswerKind, Answers } from "../../../src/node/inspection/inspection-session.ts";
import { type ControlPlane, podManifest, startControlPlane } from "../../support/control-plane.ts";

const quiet = { info: () => {}, warn: () => {} };
const eventually = { timeout: 30_000 };
const never = new AbortController().signal;
const hash = (text: string) => createHash("sha256").update(text).digest("hex");

async function control(objects: object[] = []): Promise<ControlPlane> {
  const plane = await startControlPlane([], objects);
  const tokens = await Promise.all(
    ["w1", "w2"].map(async (node) => [
      node,
      hash((await readFile(join(plane.folder, `${node}.token`), "utf8")).trim()),
    ]),
  );
  const operators = {
    reader: { token: hash("reads"), actions: ["inspect"] },
    manager: { token: hash("manages"), actions: ["inspect", "manage-agents"] },
  };
  await writeFile(join(plane.folder, "tokens.yaml"), JSON.stringify({ tokens: Object.fromEntries(tokens), operators }));
  const reader = await person(plane, "reads");
  await expect
    .poll(
      () =>
        reader.controls(never).then(
          () => true,
          () => false,
        ),
      eventually,
    )
    .toBe(true);
  return plane;
}

/** Somebody with a token, who asks every one of these replicas. */
async function person(planes: ControlPlane | readonly ControlPlane[], token: string): Promise<MeshClient> {
  const targets = await Promise.all(
    [planes].flat().map(async ({ port, folder }) => {
      const root = await readFile(join(folder, "published/root.pem"), "utf8");
      return { address: `127.0.0.1:${port}`, token, root, serverName: "" };
    }),
  );
  const client = new MeshClient({
    targets,
    namespace: "production",
    origin: "a test",
    ground: { kind: "control" },
    close: async () => {},
  });
  onTestFinished(() => client.close());
  return client;
}

function agent(plane: ControlPlane, node: string, answers: Answers, name = node): InspectionClient {
  const { address, rootFile, tokenFile = "" } = plane.clientOptions(node);
  const client = new InspectionClient(
    { answers, hello: () => ({ version: "1", node: name }), clock: systemClock, random: Math.random, log: quiet },
    { address, rootFile, tokenFile, serverName: "" },
  );
  onTestFinished(() => client.stop());
  client.start();
  return client;
}

const named = (name: string): Answers => ({
  listPods: () => [{ case: "pods", value: { pods: [{ name }] } }],
  setLogLevel: ({ level }) => [{ case: "logLevel", value: { level } }],
});

async function pods(client: MeshClient, nodes: readonly string[] = []) {
  const asked = client.ask({ case: "listPods", value: {} }, { nodes }, never);
  const found = await rowsOf(asked, "pods", (page, { node }) => page.pods.map(({ name }) => `${node} ${name}`));
  return { found: found.sort(), outcome: asked.outcome };
}

describe("agents asked through control", () => {
  test("are who their token says, whatever they call themselves", async () => {
    const plane = await control();
    agent(plane, "w1", named("one"), "w2");
    const reader = await person(plane, "reads");
    await expect.poll(async () => (await pods(reader)).found, eventually).toEqual(["w1 one"]);
    expect((await reader.controls(never))[0]?.agents.map(({ node }) => node)).toEqual(["w1"]);
  });

  test("with another's or no token get no stream", async () => {
    const plane = await control();
    await writeFile(join(plane.folder, "w2.token"), "stolen");
    agent(plane, "w2", named("two"));
    const refusals = () => plane.lines.filter(({ message }) => message.startsWith("inspection stream refused"));
    await expect.poll(() => refusals().length, eventually).toBeGreaterThan(0);
    expect((await pods(await person(plane, "reads"))).found).toEqual([]);
  });

  test("that should be there and are not make the answer partial", async () => {
    const plane = await control(podManifest("api", "w2"));
    agent(plane, "w1", named("one"));
    const reader = await person(plane, "reads");
    await expect.poll(async () => (await pods(reader)).found, eventually).toEqual(["w1 one"]);
    expect((await pods(reader)).outcome).toMatchObject({
      asked: ["w1", "w2"],
      answered: ["w1"],
      failures: [{ node: "w2", message: expect.stringContaining("no agent of w2") as string }],
    });
  });

  test("answer long listings page by page, side by side with short ones", async () => {
    const plane = await control();
    const page = Array.from({ length: 200 }, (_, index) => ({ name: `pod-${index}`, lastError: "x".repeat(100) }));
    function* many(): Iterable<AnswerKind> {
      for (let index = 0; index < 200; index++) yield { case: "pods", value: { pods: page } };
    }
    agent(plane, "w1", { ...named("one"), listPods: many });
    const manager = await person(plane, "manages");
    await expect.poll(async () => (await manager.controls(never))[0]?.agents.length, eventually).toBe(1);
    const [long, short] = await Promise.all([
      pods(manager),
      rowsOf(manager.ask({ case: "setLogLevel", value: { level: "debug" } }, {}, never), "logLevel", ({ level }) => [
        level,
      ]),
    ]);
    expect([long.found.length, long.outcome.answered, short]).toEqual([40_000, ["w1"], ["debug"]]);
  });

  test("are heard whichever replica they are connected to", async () => {
    const [one, two] = [await control(podManifest("api", "w1")), await control(podManifest("api", "w1"))];
    agent(one, "w1", named("first"));
    agent(two, "w2", named("second"));
    const reader = await person([one, two], "reads");
    await expect.poll(async () => (await pods(reader)).found, eventually).toEqual(["w1 first", "w2 second"]);
    // The second replica knows that w1 should have an agent, and does not know it: that is no failure.
    expect((await pods(reader)).outcome).toEqual({ asked: ["w1", "w2"], answered: ["w1", "w2"], failures: [] });
    await two.control.stop();
    const { found, outcome } = await pods(reader);
    expect([found, outcome.answered]).toEqual([["w1 first"], ["w1"]]);
    expect(await reader.controls(never)).toHaveLength(1);
  });

  test("that are asked what they don't know say so, without harm to the rest", async () => {
    const plane = await control();
    agent(plane, "w1", named("one"));
    const reader = await person(plane, "reads");
    await expect.poll(async () => (await pods(reader)).found, eventually).toEqual(["w1 one"]);
    const asked = reader.ask({ case: "listTunnels", value: {} }, {}, never);
    expect(await rowsOf(asked, "tunnels", () => [1])).toEqual([]);
    expect(asked.outcome.failures).toMatchObject([
      { node: "w1", message: expect.stringContaining("MESH_INSPECT_UNKNOWN") as string },
    ]);
    expect((await pods(reader)).found).toEqual(["w1 one"]);
  });

  test("that come later are heard by whoever follows", async () => {
    const plane = await control();
    const first = agent(plane, "w1", named("before"));
    const reader = await person(plane, "reads");
    await expect.poll(async () => (await pods(reader)).found, eventually).toEqual(["w1 before"]);
    const stop = new AbortController();
    const heard: string[] = [];
    const endless = async function* (name: string, signal: AbortSignal): AsyncGenerator<AnswerKind> {
      yield { case: "pods", value: { pods: [{ name }] } };
      await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    };
    await first.stop();
    agent(plane, "w1", { listPods: (_ask, signal) => endless("one", signal) });
    await expect.poll(async () => (await reader.controls(never))[0]?.agents.length, eventually).toBe(1);
    const following = (async () => {
      for await (const { kind } of reader.ask({ case: "listPods", value: {} }, { follow: true }, stop.signal))
        if (kind.case === "pods") heard.push(kind.value.pods[0]?.name ?? "");
    })();
    await expect.poll(() => heard, eventually).toEqual(["one"]);
    agent(plane, "w2", { listPods: (_ask, signal) => endless("two", signal) });
    await expect.poll(() => heard, eventually).toEqual(["one", "two"]);
    stop.abort(new Error("enough"));
    await following;
  });
});

describe("operators", () => {
  test("may do what their token allows, and what they change is written down", async () => {
    const plane = await control();
    agent(plane, "w1", named("one"));
    const [reader, manager] = [await person(plane, "reads"), await person(plane, "manages")];
    await expect.poll(async () => (await pods(reader)).found, eventually).toEqual(["w1 one"]);
    const change = (client: MeshClient) =>
      rowsOf(client.ask({ case: "setLogLevel", value: { level: "debug" } }, {}, never), "logLevel", ({ level }) => [
        level,
      ]);
    await expect(change(reader)).rejects.toMatchObject({ code: "MESH_UNREACHABLE_REFUSED" });
    expect(await change(manager)).toEqual(["debug"]);
    expect(plane.lines).toContainEqual(expect.objectContaining({ operator: "manager", what: "setLogLevel" }));
    expect(JSON.stringify(plane.lines)).not.toMatch(/"(reads|manages)"/);
  });

  test("without a token that is known learn nothing", async () => {
    const plane = await control();
    for (const token of ["", "guessed"]) {
      const stranger = await person(plane, token);
      await expect(stranger.controls(never)).rejects.toMatchObject({ code: "MESH_UNREACHABLE_REFUSED" });
      await expect(stranger.mesh(never)).rejects.toMatchObject({ code: "MESH_UNREACHABLE_REFUSED" });
      await expect(pods(stranger)).rejects.toMatchObject({ code: "MESH_UNREACHABLE_REFUSED" });
    }
  });

  test("see the mesh as agents are told it", async () => {
    const plane = await control(podManifest("api", "w1"));
    const view = await (await person(plane, "reads")).mesh(never);
    expect(Array.from(view.workloads(), ({ name, node, tunnel, identity }) => [name, node, tunnel, identity])).toEqual([
      ["api", "w1", "hbone", "spiffe://cluster.local/ns/production/sa/api"],
    ]);
    expect(view.settings.trustDomain).toBe("cluster.local");
  });

  test("hear that control is away instead of waiting for it", async () => {
    const plane = await control();
    const reader = await person(plane, "reads");
    await plane.control.stop();
    await expect(pods(reader)).rejects.toMatchObject({ code: expect.stringMatching(/^MESH_UNREACHABLE/) as string });
  });
});
