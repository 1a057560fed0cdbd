/** What operators ask and change of the authority, over real gRPC, with an agent's own certificate store at the other end. */
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { AuthorityClient } from "../../../src/cli/ca/authority-client.ts";
import { MeshClient } from "../../../src/cli/query/mesh-client.ts";
import { CertificateStore, certificateStoreDefaults } from "../../../src/identity/certificate-store.ts";
import { formatIdentity } from "../../../src/identity/spiffe.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { InspectionClient } from "../../../src/node/inspection/inspection-client.ts";
import { Origin, Rotation_Phase, type Status } from "../../../src/xds/gen/warren/authority/v1/authority_pb.ts";
import { Certificate_State } from "../../../src/xds/gen/warren/inspect/v1/inspect_pb.ts";
import { type ControlPlane, podManifest, startControlPlane } from "../../support/control-plane.ts";
import { makeParty } from "../../support/pki.ts";
import { RecordedLog } from "../../support/recorded-log.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

const eventually = { timeout: 30_000 };
const never = new AbortController().signal;
const api = formatIdentity({ trustDomain: "cluster.local", namespace: "production", serviceAccount: "api" });
const hash = (text: string) => createHash("sha256").update(text).digest("hex");

/** `manager` may change the authority, `reader` may look. */
async function control(flags: readonly string[] = []) {
  const plane = await startControlPlane(["--root-settle=0s", ...flags], podManifest("api", "w1"));
  const nodes = ["w1", "w2"].map(async (node) => [
    node,
    hash((await readFile(join(plane.folder, `${node}.token`), "utf8")).trim()),
  ]);
  const operators = {
    reader: { token: hash("reads"), actions: ["inspect"] },
    manager: { token: hash("manages"), actions: ["inspect", "manage-authority"] },
  };
  const tokens = Object.fromEntries(await Promise.all(nodes)) as Record<string, string>;
  await writeFile(join(plane.folder, "tokens.yaml"), JSON.stringify({ tokens, operators }));
  const manager = await person(plane, "manages");
  const known = () =>
    manager.authority.status(never).then(
      () => true,
      () => false,
    );
  await expect.poll(known, eventually).toBe(true);
  return { plane, manager, reader: await person(plane, "reads") };
}

async function person(plane: ControlPlane, token: string) {
  const { port } = plane;
  const root = await readFile(plane.clientOptions("w1").rootFile, "utf8");
  const mesh = new MeshClient({
    targets: [{ address: `127.0.0.1:${port}`, token, root, serverName: "" }],
    namespace: "production",
    origin: "a test",
    ground: { kind: "control" },
    close: async () => {},
  });
  onTestFinished(() => mesh.close());
  return { mesh, authority: new AuthorityClient(mesh) };
}

/** The agent of w1 as far as certificates go: it asks for them, follows what control tells, and answers what it has. */
async function agent(plane: ControlPlane, follows: () => Promise<MeshClient>) {
  const { address, rootFile, tokenFile = "" } = plane.clientOptions("w1");
  const store = new CertificateStore(
    { authority: plane.client("w1"), clock: systemClock, random: () => 0, log: new RecordedLog() },
    certificateStoreDefaults,
  );
  onTestFinished(() => store.stop());
  store.hold(api);
  await store.wait(api, AbortSignal.timeout(30_000));
  const inspection = new InspectionClient(
    {
      answers: {
        listCertificates: () =>
          store.list().flatMap(({ certificate }) =>
            certificate === undefined
              ? []
              : [
                  {
                    case: "certificates",
                    value: {
                      certificates: [
                        {
                          identity: certificate.identity,
                          state: Certificate_State.READY,
                          serial: certificate.serial,
                          chain: certificate.chain,
                          trustBundle: certificate.trustBundle,
                        },
                      ],
                    },
                  },
                ],
          ),
      },
      hello: () => ({ version: "1", node: "w1" }),
      clock: systemClock,
      random: Math.random,
      log: { info: () => {}, warn: () => {} },
    },
    { address, rootFile, tokenFile, serverName: "" },
  );
  onTestFinished(() => inspection.stop());
  inspection.start();
  const follow = async () => {
    const mesh = await follows();
    const { trustBundle, issuingRoot } = (await mesh.mesh(never)).settings;
    store.follow({ trustBundle, issuingRoot, isRevoked: () => false });
  };
  return { store, follow };
}

test("who may not is told nothing and changes nothing", async () => {
  const { plane, reader, manager } = await control();
  const refused = { code: "MESH_UNREACHABLE_REFUSED" };
  expect((await reader.authority.status(never)).trustDomain).toBe("cluster.local");
  await expect(reader.authority.rotateRoot(undefined, never)).rejects.toMatchObject(refused);
  await expect(reader.authority.rotateIntermediate(never)).rejects.toMatchObject(refused);
  await expect(reader.authority.revoke(["2a"], [], never)).rejects.toMatchObject(refused);
  await expect(reader.authority.restore([api], never)).rejects.toMatchObject(refused);
  const stranger = await person(plane, "guesses");
  await expect(stranger.authority.status(never)).rejects.toMatchObject(refused);
  await expect(stranger.authority.watch(never).next()).rejects.toMatchObject(refused);
  const status = await manager.authority.status(never);
  expect(status).toMatchObject({ revokedSerials: [], deniedIdentities: [] });
  expect(status.rotation).toBeUndefined();
});

test("the status names every certificate, and never holds a key", async () => {
  const { plane, reader } = await control();
  const status = await reader.authority.status(never);
  expect(status.origin).toBe(Origin.SELF_SIGNED);
  expect(status.roots).toHaveLength(1);
  expect(status.intermediate?.issuer).toBe(status.roots[0]?.subject);
  expect(status.serving?.issuer).toBe(status.intermediate?.subject);
  expect(status.trustBundle).toBe(await readFile(plane.clientOptions("w1").rootFile, "utf8"));
  const text = JSON.stringify(status, (_key, value: unknown) => (typeof value === "bigint" ? String(value) : value));
  expect(text).not.toContain("PRIVATE KEY");
});

test.each<[string, (authority: AuthorityClient) => Promise<unknown>, string]>([
  ["a serial number that is none", (authority) => authority.revoke(["not hex"], [], never), "is no serial number"],
  ["an identity that is none", (authority) => authority.revoke([], ["production/api"], never), "is no SPIFFE id"],
  ["nothing", (authority) => authority.revoke([], [], never), "nothing is named"],
  ["an identity that is none, restored", (authority) => authority.restore(["api"], never), "is no SPIFFE id"],
])("%s is refused as a mistake of who asks", async (_what, ask, message) => {
  const { manager } = await control();
  await expect(ask(manager.authority)).rejects.toMatchObject({
    code: "MESH_CONFIG_ASK",
    message: expect.stringContaining(message) as string,
  });
});

test("the intermediate that issues cannot be revoked before another does", async () => {
  const { manager } = await control();
  const { intermediate } = await manager.authority.status(never);
  const serial = intermediate?.serial ?? "";
  await expect(manager.authority.revoke([serial], [], never)).rejects.toMatchObject({ code: "MESH_REFUSED" });
  expect((await manager.authority.rotateIntermediate(never)).intermediate?.serial).not.toBe(serial);
  expect((await manager.authority.revoke([serial], [], never)).serials).toHaveLength(1);
});

test("a rotation is told step by step, and each step is what the agent was seen to have done", async () => {
  const { plane, manager } = await control();
  const { store, follow } = await agent(plane, async () => (await person(plane, "reads")).mesh);
  const before = store.get(api)?.rootFingerprint;
  const begun = await manager.authority.rotateRoot(undefined, never);
  expect(begun.rotation).toMatchObject({ phase: Rotation_Phase.TRUST, oldRoot: before });
  const next = begun.rotation?.newRoot;
  expect((await manager.authority.rotateRoot(undefined, never)).rotation?.newRoot).toBe(next);

  const seen: Status[] = [];
  const watched = (async () => {
    for (;;) {
      const { authority } = await person(plane, "reads");
      try {
        for await (const status of authority.watch(AbortSignal.timeout(30_000))) {
          seen.push(status);
          if (status.rotation === undefined) return;
        }
      } catch {
        // Control's certificate leads to the new root now: looked up anew.
        await pause(50);
      }
    }
  })();
  const phase = () => seen.at(-1)?.rotation?.phase;
  await expect.poll(phase, eventually).toBe(Rotation_Phase.TRUST);
  await expect.poll(() => seen.at(-1)?.rotation?.waiting[0]?.reason, eventually).toContain("does not trust");
  await follow();
  await expect.poll(phase, eventually).not.toBe(Rotation_Phase.TRUST);
  await expect
    .poll(async () => {
      await follow();
      return store.get(api)?.rootFingerprint;
    }, eventually)
    .toBe(next);
  await watched;
  await expect
    .poll(async () => readFile(plane.clientOptions("w1").rootFile, "utf8"), eventually)
    .toBe(seen.at(-1)?.trustBundle);
  await follow();
  expect(store.get(api)?.trustBundle.trim()).toBe(seen.at(-1)?.trustBundle.trim());
});

test("a root whose time has come is rotated by itself, and the status says when", async () => {
  const lifetimes = [
    "--root-lifetime=1m",
    "--intermediate-lifetime=40s",
    "--certificate-lifetime=10s",
    "--serving-lifetime=10s",
  ];
  const { manager } = await control([...lifetimes, "--root-rotate-at=0.1"]);
  const first = await manager.authority.status(never);
  const [root] = first.roots;
  if (first.rotation === undefined) {
    expect(first.rootRotatesAt?.seconds).toBeGreaterThan(root?.notBefore?.seconds ?? 0n);
    expect(first.rootRotatesAt?.seconds).toBeLessThan(root?.notAfter?.seconds ?? 0n);
  }
  await expect
    .poll(async () => (await manager.authority.status(never)).rotation, eventually)
    .toMatchObject({ phase: Rotation_Phase.TRUST, oldRoot: root?.fingerprint });
  const { rotation, rootRotatesAt } = await manager.authority.status(never);
  expect(rootRotatesAt).toBeUndefined();
  expect(rotation?.opensAt?.seconds).toBeGreaterThan(rotation?.phaseSince?.seconds ?? 0n);
});

test("an identity is refused everywhere at once: agents are told, its certificates are listed, it gets no other", async () => {
  const { plane, manager } = await control();
  const { store } = await agent(plane, async () => manager.mesh);
  const serial = store.get(api)?.serial.replaceAll(":", "");
  const asked = async () => (await manager.mesh.mesh(never)).settings;
  await expect
    .poll(async () => (await manager.mesh.controls(never))[0]?.agents.map(({ node }) => node), eventually)
    .toEqual(["w1"]);
  expect(await manager.authority.revoke([], [api], never)).toEqual({ serials: [serial], unaskedNodes: [] });
  await expect.poll(async () => (await asked()).deniedIdentities, eventually).toEqual([api]);
  expect((await asked()).crl).toContain("BEGIN X509 CRL");
  const client = plane.client("w1");
  const again = new CertificateStore(
    { authority: client, clock: systemClock, random: Math.random, log: new RecordedLog() },
    certificateStoreDefaults,
  );
  onTestFinished(() => again.stop());
  again.hold(api);
  await expect.poll(() => again.list()[0]?.lastError, eventually).toContain("MESH_CA_REFUSED");
  expect(plane.lines.map(({ message }) => message).join()).toContain("warren ca restore");

  await manager.authority.restore([api], never);
  await expect.poll(async () => (await asked()).deniedIdentities, eventually).toEqual([]);
  expect((await asked()).crl).toContain("BEGIN X509 CRL");
  expect(await again.wait(api, AbortSignal.timeout(30_000))).toMatchObject({ identity: api });
});

test("nodes whose agent cannot be asked are named", async () => {
  const { manager } = await control();
  expect(await manager.authority.revoke([], [api], never)).toEqual({ serials: [], unaskedNodes: ["w1"] });
});

test("forcing needs a rotation, and nodes that it waits for", async () => {
  const { manager } = await control();
  await expect(manager.authority.rotateRoot("all", never)).rejects.toMatchObject({ code: "MESH_REFUSED" });
  await manager.authority.rotateRoot(undefined, never);
  await expect(manager.authority.rotateRoot(["w9"], never)).rejects.toMatchObject({ code: "MESH_CONFIG_ASK" });
  expect((await manager.authority.rotateRoot(["w1"], never)).rotation?.excusedNodes).toEqual(["w1"]);
});

test("plug-in certificates are issued from and told; their root is exchanged by exchanging the files", async () => {
  const folder = join(await temporaryFolder(), "cacerts");
  await mkdir(folder);
  const dates = { notAfter: Date.now() + 90 * 86_400_000 };
  const root = await makeParty({ subject: "CN=bought", authority: true, ...dates });
  const mesh = await makeParty({ subject: "CN=mesh", authority: true, ...dates }, root);
  const files = {
    "ca-cert.pem": mesh.pem,
    "ca-key.pem": mesh.key,
    "cert-chain.pem": mesh.pem,
    "root-cert.pem": root.pem,
  };
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  const { plane, manager } = await control([`--cacerts=${folder}`]);
  expect(await manager.authority.status(never)).toMatchObject({
    origin: Origin.PLUG_IN,
    intermediate: { subject: "CN=mesh" },
    roots: [{ subject: "CN=bought" }],
    problems: [],
  });
  expect(await readFile(plane.clientOptions("w1").rootFile, "utf8")).toBe(root.pem);
  const replace = "replace the files";
  await expect(manager.authority.rotateRoot(undefined, never)).rejects.toThrow(replace);
  await expect(manager.authority.rotateIntermediate(never)).rejects.toThrow(replace);
  await writeFile(join(folder, "ca-key.pem"), "spoilt");
  await expect
    .poll(async () => (await manager.authority.status(never)).problems.join(), eventually)
    .toContain("ca-key.pem holds no private key");
});
