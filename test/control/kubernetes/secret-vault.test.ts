import { describe, expect, test } from "vitest";
import { Authority, authorityDefaults } from "../../../src/control/authority/authority.ts";
import { type AuthorityState, noRevocations } from "../../../src/control/authority/authority-state.ts";
import { PlugInSecret } from "../../../src/control/kubernetes/plug-in-secret.ts";
import { SecretVault } from "../../../src/control/kubernetes/secret-vault.ts";
import { clusterKinds, clusterTimeout, startApiServer } from "../../support/kubernetes-api/cluster.ts";
import type { DraftObject } from "../../support/kubernetes-api/objects.ts";
import { clientOf, quick, stopLater, until } from "./support.ts";

const options = { namespace: "default", name: "warren-ca", timeoutMs: 10_000, reflector: quick };

const state = (mark: string): AuthorityState => ({
  issuer: {
    origin: "self-signed",
    intermediate: { certificate: `certificate ${mark}`, key: `key ${mark}` },
    chain: "",
    roots: `root ${mark}`,
    rootKey: `root key ${mark}`,
    crl: "",
  },
  former: [],
  revocations: noRevocations,
});

describe.each(clusterKinds)("against $name, a Secret keeps the authority", clusterTimeout, ({ start }) => {
  test("once, however many come at the same time", async () => {
    const cluster = await start();
    const vaults = await Promise.all(
      Array.from({ length: 5 }, async () => new SecretVault(await clientOf(cluster), options)),
    );
    expect(await vaults[0]?.load()).toBeUndefined();
    const kept = await Promise.all(vaults.map((vault, index) => vault.create(state(String(index)))));
    expect(new Set(kept.map(({ version }) => version)).size).toBe(1);
    expect(new Set(kept.map((one) => one.state.issuer.roots)).size).toBe(1);
    expect(await vaults[4]?.load()).toEqual(kept[0]);
  });

  test("and is replaced by one of those that read the same version", async () => {
    const cluster = await start();
    const vaults = await Promise.all([1, 2, 3].map(async () => new SecretVault(await clientOf(cluster), options)));
    const first = await vaults[0]?.create(state("first"));
    const replaced = await Promise.all(
      vaults.map((vault, index) => vault.replace(first?.version ?? "", state(`next ${index}`))),
    );
    const winners = replaced.filter((one) => one !== undefined);
    expect(winners).toHaveLength(1);
    expect(await vaults[1]?.load()).toEqual(winners[0]);
  });

  test("and tells when it may have changed, also by being deleted", async () => {
    const cluster = await start();
    const vault = new SecretVault(await clientOf(cluster), options);
    const kept = await vault.create(state("first"));
    let calls = 0;
    const stop = vault.watch(() => (calls += 1));
    await expect.poll(() => calls, until).toBeGreaterThan(0);
    const before = calls;
    await vault.replace(kept.version, state("second"));
    await expect.poll(() => calls, until).toBeGreaterThan(before);
    const again = calls;
    await cluster.delete("v1", "Secret", "default", "warren-ca");
    await expect.poll(() => calls, until).toBeGreaterThan(again);
    stop();
    expect(await vault.load()).toBeUndefined();
    expect(await vault.replace(kept.version, state("third"))).toBeUndefined();
  });
});

test("replicas that start at the same time have one authority", async () => {
  const server = await startApiServer();
  const authorities = await Promise.all(
    Array.from({ length: 3 }, async () => {
      const deps = await clientOf(server);
      const authority = new Authority(
        { vault: new SecretVault(deps, options), clock: deps.clock, log: deps.log },
        { ...authorityDefaults, trustDomain: "cluster.local" },
      );
      await authority.start();
      stopLater({ stop: () => Promise.resolve(authority.stop()) });
      return authority;
    }),
  );
  expect(new Set(authorities.map(({ roots }) => roots)).size).toBe(1);
  const secret = server.object("v1", "Secret", "default", "warren-ca");
  expect(secret?.["type"]).toBe("warren.dev/authority");
});

test("labels that somebody put on the Secret stay when it is replaced", async () => {
  const server = await startApiServer();
  const vault = new SecretVault(await clientOf(server), options);
  await vault.create(state("first"));
  const secret = server.object("v1", "Secret", "default", "warren-ca") as DraftObject;
  server.apply({ ...secret, metadata: { name: "warren-ca", namespace: "default", labels: { backup: "yes" } } });
  const now = await vault.load();
  expect(await vault.replace(now?.version ?? "", state("second"))).toBeDefined();
  expect(server.object("v1", "Secret", "default", "warren-ca")?.metadata.labels).toEqual({ backup: "yes" });
});

test.each([
  ["without the key", { other: "e30=" }, /it has no key authority.json/],
  ["that is no JSON", { "authority.json": Buffer.from("secret material").toString("base64") }, /it is not JSON/],
])("a Secret %s is an error that names it and shows nothing of it", async (_name, data, message) => {
  const server = await startApiServer();
  const vault = new SecretVault(await clientOf(server), options);
  server.apply({ apiVersion: "v1", kind: "Secret", metadata: { name: "warren-ca" }, data });
  const error = await vault.load().catch((thrown: unknown) => thrown);
  expect(String(error)).toMatch(message);
  expect(String(error)).toContain("Secret default/warren-ca");
  expect(JSON.stringify(error)).not.toContain("secret material");
});

test("an API that refuses is no empty vault", async () => {
  const server = await startApiServer();
  const nobody = server.tokens.issue({ username: "nobody", groups: [] });
  const vault = new SecretVault(await clientOf(server, nobody), options);
  await expect(vault.load()).rejects.toMatchObject({ status: 403 });
  await expect(vault.create(state("x"))).rejects.toMatchObject({ status: 403 });
});

test("plug-in certificates are read from a Secret as text, and their absence is told apart from an API that fails", async () => {
  const server = await startApiServer();
  const deps = await clientOf(server);
  const secret = new PlugInSecret(deps, { namespace: "default", name: "cacerts", timeoutMs: 30_000 });
  expect(await secret.exists()).toBe(false);
  await expect(secret.read()).rejects.toMatchObject({ code: "MESH_PLUG_IN_UNUSABLE" });
  server.faults.add({ verb: "get", plural: "secrets" }, { kind: "status", code: 500, reason: "InternalError" });
  await expect(secret.exists()).rejects.toMatchObject({ status: 500 });
  const data = { "ca-cert.pem": Buffer.from("certificate").toString("base64") };
  server.apply({ apiVersion: "v1", kind: "Secret", metadata: { name: "cacerts" }, data });
  expect(await secret.exists()).toBe(true);
  expect(await secret.read()).toEqual({ "ca-cert.pem": "certificate" });
});
