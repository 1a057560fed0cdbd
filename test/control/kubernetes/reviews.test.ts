import { describe, expect, test } from "vitest";
import { type OperatorAction, operatorActions } from "../../../src/control/access/operator-authenticator.ts";
import { NodeReview } from "../../../src/control/kubernetes/node-review.ts";
import { OperatorReview, operatorAccess, operatorAudience } from "../../../src/control/kubernetes/operator-review.ts";
import { reviewCacheDefaults } from "../../../src/control/kubernetes/review-cache.ts";
import { podObject } from "../../manifests/objects.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { startApiServer } from "../../support/kubernetes-api/cluster.ts";
import type { DraftObject } from "../../support/kubernetes-api/objects.ts";
import type { TokenOptions } from "../../support/kubernetes-api/tokens.ts";
import { clientOf } from "./support.ts";

const agentPod = (uid: string, node = "w1", account = "warren-node") =>
  podObject({
    name: "agent",
    namespace: "warren-system",
    metadata: { uid },
    spec: { serviceAccountName: account, nodeName: node },
  }) as unknown as DraftObject;
const account = (name: string, namespace = "warren-system") => ({
  apiVersion: "v1",
  kind: "ServiceAccount",
  metadata: { name, namespace },
});

async function nodes() {
  const server = await startApiServer();
  server.apply(account("warren-node"), account("other"), agentPod("u1"));
  const clock = new FakeClock();
  const { api, log } = await clientOf(server);
  const review = new NodeReview(
    { api, clock },
    {
      audiences: ["warren-control"],
      trustedAccounts: ["warren-system/warren-node"],
      timeoutMs: 30_000,
      cache: reviewCacheDefaults,
    },
  );
  const token = (options: TokenOptions = {}, name = "warren-node") =>
    server.tokens.forServiceAccount("warren-system", name, { audiences: ["warren-control"], pod: "agent", ...options });
  const reviews = () => server.requests.filter(({ plural }) => plural === "tokenreviews").length;
  return { server, review, token, clock, reviews, log };
}

describe("an agent is known by its token", () => {
  test("whose pod names the node", async () => {
    const { review, token } = await nodes();
    expect(await review.authenticate(token())).toEqual({ node: "w1" });
  });

  test("also where the API is too old to name it: then the pod is asked for", async () => {
    const { server, review, token } = await nodes();
    expect(await review.authenticate(token({ tellsNode: false }))).toEqual({ node: "w1" });
    expect(server.requests.filter(({ verb, plural }) => verb === "list" && plural === "pods")).toHaveLength(1);
  });

  test("which is asked about once a minute, and is nowhere in what is remembered", async () => {
    const { review, token, clock, reviews } = await nodes();
    const shown = token();
    await Promise.all([review.authenticate(shown), review.authenticate(shown), review.authenticate(shown)]);
    expect(await review.authenticate(shown)).toEqual({ node: "w1" });
    expect(reviews()).toBe(1);
    clock.advance(reviewCacheDefaults.acceptedMs + 1);
    expect(await review.authenticate(shown)).toEqual({ node: "w1" });
    expect(reviews()).toBe(2);
  });

  test("until its pod is gone", async () => {
    const { server, review, token, clock } = await nodes();
    const shown = token();
    expect(await review.authenticate(shown)).toEqual({ node: "w1" });
    server.delete("v1", "Pod", "warren-system", "agent");
    server.apply(agentPod("u2", "w2"));
    clock.advance(reviewCacheDefaults.acceptedMs + 1);
    expect(await review.authenticate(shown)).toMatchObject({ refused: expect.stringContaining("does not accept") });
  });
});

describe("nobody is known", () => {
  test.each<[string, TokenOptions, string, RegExp]>([
    ["by a token for another audience", { audiences: ["istio-ca"] }, "warren-node", /audiences are invalid/],
    [
      "by a token for the API itself",
      { audiences: ["https://kubernetes.default.svc.cluster.local"] },
      "warren-node",
      /audiences/,
    ],
    ["by another account's token", {}, "other", /warren-system\/other is not among kubernetes.trustedAccounts/],
    ["by a token that has expired", { lifetimeMs: -1 }, "warren-node", /expired/],
  ])("%s", async (_name, options, name, reason) => {
    const { review, token } = await nodes();
    expect(await review.authenticate(token(options, name))).toEqual({
      refused: expect.stringMatching(reason) as string,
    });
  });

  test("by a token that is bound to no pod", async () => {
    const { server, review } = await nodes();
    const free = server.tokens.forServiceAccount("warren-system", "warren-node", { audiences: ["warren-control"] });
    expect(await review.authenticate(free)).toMatchObject({
      refused: expect.stringMatching(/bound to no pod/) as string,
    });
  });

  test("by a person's token, by nonsense, by nothing, by something huge", async () => {
    const { server, review, reviews } = await nodes();
    const person = server.tokens.issue({ username: "jane", groups: [] }, ["warren-control"]);
    expect(await review.authenticate(person)).toEqual({ refused: "jane is no service account" });
    expect(await review.authenticate("nonsense")).toMatchObject({
      refused: expect.stringMatching(/not accept/) as string,
    });
    const before = reviews();
    expect(await review.authenticate("")).toEqual({ refused: "no bearer token was shown" });
    expect(await review.authenticate("x".repeat(100_000))).toMatchObject({ refused: expect.any(String) as string });
    expect(reviews()).toBe(before);
  });

  test("whose pod runs as another account, or on no node, where the token does not say", async () => {
    const { server, review, token } = await nodes();
    const shown = token({ tellsNode: false });
    server.apply(agentPod("u1", "w1", "someone-else"));
    expect(await review.authenticate(shown)).toMatchObject({
      refused: expect.stringMatching(/another account/) as string,
    });
    server.apply(agentPod("u1", ""));
    const later = token({ tellsNode: false });
    expect(await review.authenticate(later)).toMatchObject({ refused: expect.stringMatching(/no node yet/) as string });
  });

  test("while the API does not answer, which is forgotten soon and never shows the token", async () => {
    const { server, review, token, clock } = await nodes();
    const shown = token();
    server.faults.add({ verb: "create", plural: "tokenreviews" }, { kind: "reset" });
    const refused = await review.authenticate(shown);
    expect(refused).toMatchObject({ refused: expect.stringMatching(/could not be asked/) as string });
    expect(JSON.stringify(refused)).not.toContain(shown);
    clock.advance(reviewCacheDefaults.refusedMs + 1);
    expect(await review.authenticate(shown)).toEqual({ node: "w1" });
  });
});

describe("a stranger who makes up tokens", () => {
  test("asks no more at once of the API server than it can bear, and keeps nobody out who is known", async () => {
    const { server, review, token, reviews } = await nodes();
    const known = token();
    await review.authenticate(known);
    const before = reviews();
    server.faults.add({ verb: "create", plural: "tokenreviews" }, { kind: "stall" });
    const made = Array.from({ length: reviewCacheDefaults.atOnce + 20 }, (_, index) =>
      review.authenticate(`t${index}`),
    );
    const turnedAway = await Promise.all(made.slice(reviewCacheDefaults.atOnce));
    for (const answer of turnedAway) expect(answer).toEqual({ refused: "too many tokens are being judged at once" });
    expect(await review.authenticate(known)).toEqual({ node: "w1" });
    await expect.poll(reviews).toBe(before + reviewCacheDefaults.atOnce);
  });

  test("costs two questions for each, whatever it tries", async () => {
    const server = await startApiServer();
    const { api } = await clientOf(server);
    const review = new OperatorReview(
      { api, clock: new FakeClock() },
      { timeoutMs: 30_000, cache: reviewCacheDefaults },
    );
    for (const action of operatorActions) expect(await review.authorize("made up", action)).toHaveProperty("refused");
    expect(server.requests.filter(({ plural }) => plural === "tokenreviews")).toHaveLength(2);
  });
});

describe("an operator may what the cluster's roles say", () => {
  const role = (verbs: readonly string[], resources: readonly string[], name: string, user: string) => [
    {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "ClusterRole",
      metadata: { name },
      rules: [{ apiGroups: ["warren.dev"], resources, verbs }],
    },
    {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "ClusterRoleBinding",
      metadata: { name },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name },
      subjects: [{ kind: "User", name: user }],
    },
  ];

  async function operators() {
    const server = await startApiServer();
    const clock = new FakeClock();
    const { api } = await clientOf(server);
    const review = new OperatorReview({ api, clock }, { timeoutMs: 30_000, cache: reviewCacheDefaults });
    const may = async (token: string): Promise<OperatorAction[]> => {
      const actions = Object.keys(operatorAccess) as OperatorAction[];
      const answers = await Promise.all(actions.map((action) => review.authorize(token, action)));
      return actions.filter((_action, index) => "name" in (answers[index] ?? {}));
    };
    return { server, review, may, clock };
  }

  test.each<[string, readonly string[], readonly string[], OperatorAction[]]>([
    ["nothing without a role", [], [], []],
    ["look", ["get"], ["agents"], ["inspect"]],
    ["change agents", ["get", "update"], ["agents"], ["inspect", "manage-agents"]],
    ["change the authority", ["update"], ["authorities"], ["manage-authority"]],
    ["everything", ["*"], ["*"], ["inspect", "manage-agents", "manage-authority"]],
    ["not more by a verb on something else", ["update"], ["nodes"], []],
  ])("%s", async (_name, verbs, resources, expected) => {
    const { server, may } = await operators();
    server.apply(...role(verbs, resources, "r", "jane"));
    const token = server.tokens.issue({ username: "jane", groups: [] });
    expect(await may(token)).toEqual(expected);
  });

  test("with a token made for control alone, or one for the API", async () => {
    const { server, may, review } = await operators();
    server.apply(account("warren-operator"));
    server.apply(...role(["get"], ["agents"], "r", "system:serviceaccount:warren-system:warren-operator"));
    const ours = server.tokens.forServiceAccount("warren-system", "warren-operator", { audiences: [operatorAudience] });
    expect(await may(ours)).toEqual(["inspect"]);
    expect(await review.authorize(ours, "inspect")).toEqual({
      name: "system:serviceaccount:warren-system:warren-operator",
    });
    expect(await may(server.tokens.forServiceAccount("warren-system", "warren-operator"))).toEqual(["inspect"]);
    const foreign = server.tokens.forServiceAccount("warren-system", "warren-operator", { audiences: ["vault"] });
    expect(await may(foreign)).toEqual([]);
  });

  test("and loses it soon after the role is gone", async () => {
    const { server, may, clock, review } = await operators();
    server.apply(...role(["get"], ["agents"], "r", "jane"));
    const token = server.tokens.issue({ username: "jane", groups: [] });
    expect(await may(token)).toEqual(["inspect"]);
    server.delete("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "", "r");
    clock.advance(reviewCacheDefaults.acceptedMs + 1);
    expect(await may(token)).toEqual([]);
    const refused = await review.authorize(token, "inspect");
    expect(refused).toEqual({ refused: expect.stringMatching(/jane may not get agents.warren.dev/) as string });
  });

  test("shows nothing, gets nothing", async () => {
    const { may, server } = await operators();
    expect(await may("")).toEqual([]);
    expect(server.requests).toEqual([]);
  });
});
