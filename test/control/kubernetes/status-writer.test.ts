import { describe, expect, test } from "vitest";
import type { ApiCall } from "../../../src/control/kubernetes/api.ts";
import { KubernetesSource } from "../../../src/control/kubernetes/kubernetes-source.ts";
import type { Condition } from "../../../src/control/kubernetes/policy-objects.ts";
import { StatusWriter, statusWriterDefaults } from "../../../src/control/kubernetes/status-writer.ts";
import { policyObject, serviceObject } from "../../manifests/objects.ts";
import { settings } from "../../mesh/build.ts";
import { clusterKinds, clusterTimeout, startApiServer } from "../../support/kubernetes-api/cluster.ts";
import type { ApiObject, DraftObject } from "../../support/kubernetes-api/objects.ts";
import { resourceOf } from "../../support/kubernetes-api/resources.ts";
import { clientOf, quick, stopLater, until } from "./support.ts";

type Reached = { readonly url: string; readonly root: string; readonly adminToken: string };

const policy = (kind: "PeerAuthentication" | "AuthorizationPolicy", name: string, spec: unknown) =>
  policyObject(kind, name, spec) as unknown as DraftObject;
const shop = { apiVersion: "v1", kind: "Namespace", metadata: { name: "shop" } };

async function writerOf(cluster: Reached, change: (call: ApiCall) => ApiCall = (call) => call) {
  const deps = await clientOf(cluster);
  const api = { call: (call: ApiCall, signal: AbortSignal) => deps.api.call(change(call), signal) };
  const source = stopLater(new KubernetesSource(deps, { settings, reflector: quick }));
  const writer = stopLater(
    new StatusWriter(
      { ...deps, api, policies: source.policies, source },
      { ...statusWriterDefaults, identity: "control-0", settleMs: 10, spacingMs: 1, retryMs: 50 },
    ),
  );
  await source.start(AbortSignal.timeout(30_000));
  writer.start();
  return { source, writer, log: deps.log };
}

const conditions = (object: ApiObject | undefined): Condition[] =>
  (object?.["status"] as { conditions?: Condition[] } | undefined)?.conditions ?? [];

describe.each(clusterKinds)("against $name, a policy is told", clusterTimeout, ({ start }) => {
  test("that it is not enforced as it is written, why, and later that it is", async () => {
    const cluster = await start();
    // What a CRD lets through: a real API server refuses most of what is wrong before it is stored.
    const about = { targetRefs: [{ group: "", kind: "Service", name: "missing" }], rules: [{}] };
    await cluster.apply(shop, policy("AuthorizationPolicy", "a", about));
    await writerOf(cluster);
    const accepted = async () =>
      conditions(await cluster.get("security.istio.io/v1", "AuthorizationPolicy", "shop", "a"))[0];
    await expect
      .poll(accepted, until)
      .toMatchObject({ type: "Accepted", status: "False", reason: "WP114", observedGeneration: 1 });
    const bad = await accepted();
    expect(bad?.message).toMatch(/spec\.targetRefs: there is no Service shop\/missing/);
    await cluster.apply(policy("AuthorizationPolicy", "a", { targetRefs: null, rules: [{}] }));
    await expect.poll(accepted, until).toMatchObject({ status: "True", reason: "Accepted", observedGeneration: 2 });
    expect(Date.parse((await accepted())?.lastTransitionTime ?? "")).toBeGreaterThanOrEqual(
      Date.parse(bad?.lastTransitionTime ?? ""),
    );
  });
});

const events = (server: Awaited<ReturnType<typeof startApiServer>>) =>
  server.requests.filter(({ verb, plural }) => verb === "create" && plural === "events");
const eventsOf = (server: Awaited<ReturnType<typeof startApiServer>>) => {
  const resource = resourceOf("events.k8s.io", "events");
  return resource === undefined ? [] : server.store.all(resource);
};
const writes = (server: Awaited<ReturnType<typeof startApiServer>>) =>
  server.requests.filter(({ verb, subresource }) => verb === "patch" && subresource === "status");
const acceptedOf = (server: Awaited<ReturnType<typeof startApiServer>>, kind: string, name: string) =>
  conditions(server.object("security.istio.io/v1", kind, "shop", name)).find(({ type }) => type === "Accepted");

describe("a policy's condition", () => {
  test.each<[string, DraftObject, string, RegExp]>([
    [
      "names the field of a PeerAuthentication that cannot be read",
      policy("PeerAuthentication", "p", { mtls: { mode: "STRICTEST" } }),
      "WP117",
      /spec\.mtls\.mode.*STRICT for what it selects/,
    ],
    [
      "names an unknown field",
      policy("PeerAuthentication", "p", { mtsl: { mode: "STRICT" } }),
      "WP117",
      /spec\.mtsl: unknown field/,
    ],
    [
      "names port modes without a selector",
      policy("PeerAuthentication", "p", { portLevelMtls: { 80: { mode: "STRICT" } } }),
      "WP110",
      /add a selector/,
    ],
    [
      "refuses CUSTOM",
      policy("AuthorizationPolicy", "p", { action: "CUSTOM", rules: [{}] }),
      "WP100",
      /external authorizer/,
    ],
    [
      "names an unknown field of an AuthorizationPolicy",
      policy("AuthorizationPolicy", "p", { rules: [{ form: [] }] }),
      "WP100",
      /spec\.rules\[0\]\.form: unknown field.*denies what it selects/,
    ],
    [
      "names the shape that cannot be read at all",
      policy("AuthorizationPolicy", "p", { rules: "all" }),
      "WP117",
      /spec\.rules.*everything in the namespace is denied/,
    ],
    [
      "says that a target is not ours to enforce",
      policy("AuthorizationPolicy", "p", {
        targetRefs: [{ group: "gateway.networking.k8s.io", kind: "Gateway", name: "g" }],
        rules: [{}],
      }),
      "UnsupportedTarget",
      /Gateway g/,
    ],
    [
      "says that the Service it is about does not exist",
      policy("AuthorizationPolicy", "p", { targetRefs: [{ kind: "Service", name: "nowhere" }], rules: [{}] }),
      "WP114",
      /spec\.targetRefs: there is no Service shop\/nowhere/,
    ],
  ])("%s, and an Event says the same", async (_name, object, reason, message) => {
    const server = await startApiServer();
    server.apply(shop, object);
    await writerOf(server);
    await expect.poll(() => acceptedOf(server, object.kind, "p"), until).toMatchObject({ status: "False", reason });
    expect(acceptedOf(server, object.kind, "p")?.message).toMatch(message);
    await expect.poll(() => events(server).length, until).toBe(1);
    const event = eventsOf(server)[0];
    expect(event).toMatchObject({
      type: "Warning",
      reason,
      regarding: { kind: object.kind, name: "p", namespace: "shop" },
    });
    expect(event?.["note"]).toMatch(message);
  });

  test("becomes true with the Service that was missing", async () => {
    const server = await startApiServer();
    server.apply(
      shop,
      policy("AuthorizationPolicy", "p", { targetRefs: [{ kind: "Service", name: "api" }], rules: [{}] }),
    );
    await writerOf(server);
    await expect.poll(() => acceptedOf(server, "AuthorizationPolicy", "p")?.reason, until).toBe("WP114");
    server.apply(serviceObject("api", { clusterIP: "10.96.0.1", ports: [{ port: 80 }] }) as unknown as DraftObject);
    await expect.poll(() => acceptedOf(server, "AuthorizationPolicy", "p")?.status, until).toBe("True");
  });
});

test("what is said already is not written again, by this leader or the next", async () => {
  const server = await startApiServer();
  server.apply(
    shop,
    policy("PeerAuthentication", "good", { mtls: { mode: "STRICT" } }),
    policy("PeerAuthentication", "bad", { mtls: { mode: "x" } }),
  );
  const first = await writerOf(server);
  await expect.poll(() => acceptedOf(server, "PeerAuthentication", "good")?.status, until).toBe("True");
  await expect.poll(() => events(server).length, until).toBe(1);
  expect(writes(server)).toHaveLength(2);
  await first.writer.stop();
  const before = server.requests.length;
  await writerOf(server);
  // A change that does need a write shows that the others have been looked at.
  server.apply(policy("PeerAuthentication", "third", { mtls: { mode: "STRICT" } }));
  await expect.poll(() => acceptedOf(server, "PeerAuthentication", "third")?.status, until).toBe("True");
  expect(writes(server)).toHaveLength(3);
  expect(events(server)).toHaveLength(1);
  // Nor asked about: the next leader had seen all of it before it began.
  const later = server.requests
    .slice(before)
    .filter(({ verb, plural }) => verb === "get" && plural === "peerauthentications");
  expect([...new Set(later.map(({ name }) => name))]).toEqual(["third"]);
});

test("another controller's conditions stay as they are, with fields that we know nothing of", async () => {
  const server = await startApiServer();
  const theirs = { type: "ZtunnelAccepted", status: "True", reason: "Accepted", message: "", extra: { deep: 1 } };
  server.apply(shop, {
    ...policy("PeerAuthentication", "p", { mtls: { mode: "STRICT" } }),
    status: { conditions: [theirs], validationMessages: ["x"] },
  });
  await writerOf(server);
  await expect.poll(() => acceptedOf(server, "PeerAuthentication", "p")?.status, until).toBe("True");
  const object = server.object("security.istio.io/v1", "PeerAuthentication", "shop", "p");
  expect(conditions(object)[0]).toEqual(theirs);
  expect(object?.["status"]).toMatchObject({ validationMessages: ["x"] });
});

test("a conflict is thought over, a failure tried again, and the object that is gone forgotten", async () => {
  const server = await startApiServer();
  server.apply(
    shop,
    ...["a", "b", "c"].map((name) => policy("PeerAuthentication", name, { mtls: { mode: "STRICT" } })),
  );
  server.faults.add(
    { verb: "patch", plural: "peerauthentications" },
    { kind: "status", code: 409, reason: "Conflict" },
  );
  server.faults.add(
    { verb: "patch", plural: "peerauthentications", times: 2 },
    { kind: "status", code: 429, reason: "TooManyRequests" },
  );
  const { log } = await writerOf(server);
  for (const name of ["a", "b", "c"]) {
    await expect.poll(() => acceptedOf(server, "PeerAuthentication", name)?.status, until).toBe("True");
  }
  expect(log.messages("warn").join()).toMatch(/status could not be written/);
});

test("a missing right is asked for now and then, not once for every policy", async () => {
  const server = await startApiServer();
  server.apply(
    shop,
    ...["a", "b", "c", "d"].map((name) => policy("PeerAuthentication", name, { mtls: { mode: "x" } })),
  );
  const forbidden = { kind: "status", code: 403, reason: "Forbidden" } as const;
  server.faults.add({ verb: "patch", plural: "peerauthentications", times: 2 }, forbidden);
  const { log } = await writerOf(server);
  for (const name of ["a", "b", "c", "d"]) {
    await expect.poll(() => acceptedOf(server, "PeerAuthentication", name)?.status, until).toBe("False");
  }
  // Two refusals, in two rounds, before the four that went through.
  expect(writes(server)).toHaveLength(6);
  expect(log.messages("warn")).toHaveLength(2);
});

test("an API that takes a condition and does not keep it is not asked again and again", async () => {
  const server = await startApiServer();
  server.apply(shop, policy("PeerAuthentication", "p", { mtls: { mode: "x" } }));
  // As a CRD whose schema has no conditions does: unknown fields are dropped without a word.
  const { log } = await writerOf(server, (call) =>
    call.method === "PATCH" ? { ...call, body: { status: { observedGeneration: 1 } } } : call,
  );
  await expect
    .poll(() => log.messages("warn"), until)
    .toEqual([expect.stringContaining("does not keep the condition")]);
  server.apply(policy("PeerAuthentication", "q", { mtls: { mode: "x" } }));
  await expect.poll(() => log.messages("warn").length, until).toBe(2);
  expect(writes(server).map(({ name }) => name)).toEqual(["p", "q"]);
});

test("a long list of problems fits into a condition and an Event, whatever characters it has", async () => {
  const server = await startApiServer();
  const ports = Array.from({ length: 200 }, (_, index) => `ü${"é".repeat(80)}${index}`);
  server.apply(shop, policy("AuthorizationPolicy", "p", { rules: [{ to: [{ operation: { ports } }] }] }));
  await writerOf(server);
  await expect.poll(() => events(server).length, until).toBe(1);
  const note = String(eventsOf(server)[0]?.["note"]);
  expect(Buffer.byteLength(note)).toBeLessThanOrEqual(1024);
  expect(note).not.toContain("\uFFFD");
  const { message } = acceptedOf(server, "AuthorizationPolicy", "p") ?? { message: "" };
  expect(message).toMatch(/and \d+ more/);
  expect(message.length).toBeLessThanOrEqual(4096);
});

test("who is not the leader writes nothing", async () => {
  const server = await startApiServer();
  server.apply(shop, policy("PeerAuthentication", "p", { mtls: { mode: "x" } }));
  const { writer } = await writerOf(server);
  await writer.stop();
  await writer.stop();
  const before = writes(server).length;
  server.apply(policy("PeerAuthentication", "q", { mtls: { mode: "x" } }));
  const other = await clientOf(server);
  const seen = stopLater(new KubernetesSource(other, { settings, reflector: quick }));
  await seen.start(AbortSignal.timeout(30_000));
  expect(writes(server)).toHaveLength(before);
});
