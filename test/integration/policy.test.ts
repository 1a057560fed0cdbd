/**
 * Policy in a whole mesh: what a change cuts and what it leaves, on connections that are open; and that `warren authz explain` says
 * what traffic then meets. Times are told beside the tests and never asserted: the machine is shared.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../../src/lab/demo/stage.ts";
import { Lab } from "../../src/lab/lab.ts";
import { document } from "../cli/support/run-cli.ts";
import { client, documents, echoPort, HeldConnection, httpPort, namespaces, server } from "./support/cast.ts";

const outsider = "outside/outsider";

let lab: Lab;
beforeAll(async () => {
  const manifests = [
    documents(
      namespaces,
      server("node-2"),
      client("alice", "node-1"),
      client("bob", "node-1"),
      client("outsider", "node-1", "outside"),
    ),
  ];
  lab = await Lab.up({ nodes: 2, manifests }, AbortSignal.timeout(90_000));
  await lab.waitReady();
});
afterAll(() => lab.down());

function authorization(name: string, spec: string): string {
  return `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: ${name}}, spec: ${spec}}`;
}

const principal = (name: string) => `{source: {principals: [cluster.local/ns/production/sa/${name}]}}`;

type Annotate = (message: string) => Promise<unknown>;

/** Makes a change and tells how long the connections that it forbids lived after it. */
async function cutBy(
  annotate: Annotate,
  change: () => Promise<void>,
  connections: readonly HeldConnection[],
): Promise<void> {
  const changedAt = performance.now();
  await change();
  const lived = await Promise.all(connections.map(async (one) => Math.round((await one.ended()) - changedAt)));
  await annotate(`cut ${lived.join(", ")} ms after the object was handed to the cluster`);
}

describe("a change cuts open connections that it forbids, and no others", () => {
  test("a policy that a selector attaches", async ({ annotate }) => {
    const alice = await HeldConnection.open(lab, "alice", "server");
    const bob = await HeldConnection.open(lab, "bob", "server");
    const plain = await HeldConnection.open(lab, outsider, "server.production");
    const policy = authorization(
      "no-bob",
      `{action: DENY, selector: {matchLabels: {app: server}}, rules: [{from: [${principal("bob")}]}]}`,
    );
    await cutBy(annotate, () => lab.apply(policy), [bob]);
    await alice.echo();
    await plain.echo();
    await expect(HeldConnection.open(lab, "bob", "server")).rejects.toThrow("has ended");
    await lab.delete("AuthorizationPolicy", "production", "no-bob");
    await eventually("bob again", 60_000, () => HeldConnection.open(lab, "bob", "server"));
  });

  test("a pod's label that a policy selects by", async ({ annotate }) => {
    const policy = authorization(
      "closed",
      `{selector: {matchLabels: {tier: closed}}, rules: [{from: [${principal("alice")}]}]}`,
    );
    await lab.apply(policy);
    const alice = await HeldConnection.open(lab, "alice", "server");
    const bob = await HeldConnection.open(lab, "bob", "server");
    await cutBy(annotate, () => lab.label("Pod", "production", "server", { tier: "closed" }), [bob]);
    await alice.echo();
    await lab.label("Pod", "production", "server", { tier: null });
    await lab.delete("AuthorizationPolicy", "production", "closed");
    await eventually("bob again", 60_000, () => HeldConnection.open(lab, "bob", "server"));
  });

  test("STRICT, for plaintext alone", async ({ annotate }) => {
    const alice = await HeldConnection.open(lab, "alice", "server");
    const plain = await HeldConnection.open(lab, outsider, "server.production");
    const strict =
      "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default}, spec: {mtls: {mode: STRICT}}}";
    await cutBy(annotate, () => lab.apply(strict), [plain]);
    await alice.echo();
    await lab.delete("PeerAuthentication", "production", "default");
    await eventually("the client outside again", 60_000, () => HeldConnection.open(lab, outsider, "server.production"));
  });
});

interface Asked {
  readonly pod: string;
  /** `--from` of the question. */
  readonly from: string;
  readonly method: string;
  readonly path: string;
}

const asked: readonly Asked[] = [
  { pod: "alice", from: "production/alice", method: "GET", path: "/open" },
  { pod: "alice", from: "production/alice", method: "POST", path: "/open" },
  { pod: "alice", from: "production/alice", method: "GET", path: "/a/../shut" },
  { pod: "bob", from: "production/bob", method: "GET", path: "/open" },
  { pod: outsider, from: "outside/outsider", method: "GET", path: "/open" },
];

/** `yes` for an answer of the application, `no` for a 403 of the mesh or a connection that it ended. */
async function met({ pod, method, path }: Asked): Promise<"yes" | "no"> {
  const flags = ["-s", "--max-time", "15", "--path-as-is", "-X", method, "-o", "/dev/null", "-w", "%{http_code}"];
  const { code, stdout } = await lab.exec(pod, ["curl", ...flags, `http://server.production:${httpPort}${path}`]);
  if (code === 0 && stdout === "200") return "yes";
  if ((code === 0 && stdout === "403") || code === 52 || code === 56 || code === 7) return "no";
  throw new Error(`curl in ${pod} ended with ${code} and ${stdout}`);
}

async function explained({ from, method, path }: Asked): Promise<"yes" | "no"> {
  const question = ["--from", from, "--to", `pod/server:${httpPort}`, "--method", method, "--path", path];
  const host = ["--host", `server.production:${httpPort}`];
  const { code, allowed } = await document<{ allowed: boolean }>(
    "authz",
    "explain",
    "--name",
    lab.id,
    ...question,
    ...host,
  );
  expect(allowed).toBe(code === 0);
  return allowed ? "yes" : "no";
}

/** One after the other: they print to the same place. */
async function allExplained(): Promise<readonly string[]> {
  const answers: string[] = [];
  for (const one of asked) answers.push(await explained(one));
  return answers;
}

describe("warren authz explain says what traffic meets", () => {
  test.each([
    ["without policies", undefined, ["yes", "yes", "yes", "yes", "yes"]],
    ["by identity", `{rules: [{from: [${principal("alice")}]}]}`, ["yes", "yes", "yes", "no", "no"]],
    [
      "by method",
      `{selector: {matchLabels: {app: server}}, rules: [{from: [${principal("alice")}], to: [{operation: {methods: [GET]}}]}]}`,
      ["yes", "no", "yes", "no", "no"],
    ],
    [
      "by path, normalised, in a DENY",
      `{action: DENY, rules: [{to: [{operation: {paths: [/shut], ports: ["${httpPort}"]}}]}]}`,
      ["yes", "yes", "no", "yes", "yes"],
    ],
    ["by another port", `{rules: [{to: [{operation: {ports: ["${echoPort}"]}}]}]}`, ["no", "no", "no", "no", "no"]],
    [
      "by a policy that cannot be evaluated",
      "{rules: [{from: [{source: {requestPrincipals: [x]}}]}]}",
      ["no", "no", "no", "no", "no"],
    ],
  ])("%s", async (_name, spec, expected) => {
    if (spec !== undefined) await lab.apply(authorization("case", spec));
    try {
      // Control hears of the object a moment after the cluster took it.
      await expect.poll(allExplained, { timeout: 60_000 }).toEqual(expected);
      let last: readonly string[] = [];
      await eventually("the agents at the same state", 60_000, async () => {
        last = await Promise.all(asked.map(met));
        return last.join() === expected.join() ? true : undefined;
      }).catch(() => undefined);
      expect(last).toEqual(expected);
    } finally {
      if (spec !== undefined) await lab.delete("AuthorizationPolicy", "production", "case");
    }
  });
});
