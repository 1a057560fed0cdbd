import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { readFile, stat, writeFile } from "node:fs/promises";
import { connect as connectHttp2, type IncomingHttpHeaders } from "node:http2";
import { join } from "node:path";
import { connect as tlsConnect } from "node:tls";
import { create } from "@bufbuild/protobuf";
import { Client, credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { describe, expect, onTestFinished, test } from "vitest";
import { createCertificateRequest } from "../../src/identity/certificate-request.ts";
import { CertificateStore, certificateStoreDefaults } from "../../src/identity/certificate-store.ts";
import { createWorkloadKey } from "../../src/identity/key.ts";
import { formatIdentity, identityOfNames } from "../../src/identity/spiffe.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { IstioCertificateRequestSchema, IstioCertificateService } from "../../src/xds/gen/istio/v1/auth/ca_pb.ts";
import { grpcMethod } from "../../src/xds/grpc-service.ts";
import { type ControlPlane, podManifest, startControlPlane } from "../support/control-plane.ts";
import { RecordedLog } from "../support/recorded-log.ts";
import { unlessStalled } from "../support/stalls.ts";

const identityOf = (serviceAccount: string, trustDomain = "cluster.local") =>
  formatIdentity({ trustDomain, namespace: "production", serviceAccount });
const api = identityOf("api");
const apiOnW1 = podManifest("api", "w1");
const soon = () => AbortSignal.timeout(30_000);

async function order(identity = api, lifetimeMs = 3_600_000) {
  const key = await createWorkloadKey();
  return { identity, lifetimeMs, request: await createCertificateRequest(identity, key), key };
}

/** What a caller who is no agent of ours can send: any text, any metadata. */
function rawCall(
  plane: ControlPlane,
  root: string,
  request: { csr: string; metadata?: Record<string, string>; validityDuration?: bigint },
  headers: Record<string, string>,
): Promise<readonly string[] | ServiceError> {
  const client = new Client(`127.0.0.1:${plane.port}`, credentials.createSsl(Buffer.from(root)));
  onTestFinished(() => client.close());
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  const { path, requestSerialize, responseDeserialize } = grpcMethod(IstioCertificateService.method.createCertificate);
  return new Promise((resolve) => {
    client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      create(IstioCertificateRequestSchema, request),
      metadata,
      { deadline: Date.now() + 30_000 },
      (error, answer) => resolve(error ?? answer?.certChain ?? []),
    );
  });
}

async function asW1(plane: ControlPlane) {
  const root = await readFile(join(plane.folder, "published/root.pem"), "utf8");
  const token = (await readFile(join(plane.folder, "w1.token"), "utf8")).trim();
  return { root, authorization: `Bearer ${token}` };
}

const linesOf = (plane: ControlPlane, message: RegExp) => plane.lines.filter((line) => message.test(line.message));

const metricsOf = async (plane: ControlPlane) =>
  await (await fetch(`http://127.0.0.1:${plane.adminPort}/metrics`)).text();

test("an agent gets a certificate for a pod of its node, and everybody can check it", async () => {
  const plane = await startControlPlane([], apiOnW1);
  const { key, ...wanted } = await order();
  const [leafPem = "", intermediatePem = "", rootPem = "", ...others] = await plane
    .client("w1")
    .createCertificate(wanted, soon());
  expect(others).toEqual([]);
  const leaf = new X509Certificate(leafPem);
  expect(identityOfNames(leaf.subjectAltName)).toBe(api);
  expect(leaf.checkPrivateKey(key.privateKey)).toBe(true);
  expect(rootPem).toBe(await readFile(join(plane.folder, "published/root.pem"), "utf8"));
  for (const [name, pem] of Object.entries({ leafPem, intermediatePem, rootPem }))
    await writeFile(join(plane.folder, name), pem);
  const verified = execFileSync(
    "openssl",
    ["verify", "-x509_strict", "-CAfile", "rootPem", "-untrusted", "intermediatePem", "leafPem"],
    { cwd: plane.folder, encoding: "utf8" },
  );
  expect(verified.trim()).toBe("leafPem: OK");
  expect(linesOf(plane, /^certificate issued$/)).toMatchObject([{ node: "w1", identity: api, scope: "certificates" }]);
  expect(await metricsOf(plane)).toContain('warren_ca_requests_total{outcome="issued"} 1');
});

test("a pod may have a certificate under another name of the mesh, which agents may know before this replica does", async () => {
  const plane = await startControlPlane(["--mesh-trust-domain-aliases=new.example"], apiOnW1);
  const { key: _, ...wanted } = await order(identityOf("api", "new.example"));
  const [leaf = ""] = await plane.client("w1").createCertificate(wanted, soon());
  expect(identityOfNames(new X509Certificate(leaf).subjectAltName)).toBe(identityOf("api", "new.example"));
  const { key: _key, ...stranger } = await order(identityOf("database", "new.example"));
  await expect(plane.client("w1").createCertificate(stranger, soon())).rejects.toMatchObject({
    code: "MESH_CA_REFUSED",
  });
});

describe("who may not have a certificate is told nothing, and our log says why", () => {
  test.each([
    ["without a token", { authorization: undefined }, status.UNAUTHENTICATED, /no bearer token/],
    ["with a wrong token", { authorization: "Bearer wrong" }, status.UNAUTHENTICATED, /none of those/],
    ["with another scheme", { authorization: "Basic d3Jvbmc6" }, status.UNAUTHENTICATED, /no bearer token/],
    ["for another node's pod", { identity: identityOf("database") }, status.PERMISSION_DENIED, /no enrolled pod/],
    ["for a pod outside the mesh", { identity: identityOf("legacy") }, status.PERMISSION_DENIED, /no enrolled pod/],
    ["for a pod that nobody knows", { identity: identityOf("ghost") }, status.PERMISSION_DENIED, /no enrolled pod/],
    [
      "for a foreign trust domain",
      { identity: identityOf("api", "example.org") },
      status.PERMISSION_DENIED,
      /signs for cluster.local only/,
    ],
    ["for no identity", { identity: undefined }, status.INVALID_ARGUMENT, /names no ImpersonatedIdentity/],
    [
      "for something else",
      { identity: "spiffe://cluster.local/api" },
      status.INVALID_ARGUMENT,
      /not a workload's SPIFFE id/,
    ],
    ["with an empty request", { csr: "" }, status.INVALID_ARGUMENT, /not one PEM block/],
    ["with an oversized request", { csr: "A".repeat(10_000) }, status.INVALID_ARGUMENT, /10000 characters/],
  ])("%s", async (_what, changed, code, reason) => {
    const legacy = podManifest("legacy", "w1", { address: "10.0.0.3" })[1] ?? {};
    const outside = {
      ...legacy,
      metadata: { name: "legacy", namespace: "production", uid: "l", labels: { "warren.dev/mode": "none" } },
    };
    const plane = await startControlPlane(
      [],
      [...apiOnW1, ...podManifest("database", "w2", { address: "10.0.0.2" }).slice(1), outside],
    );
    const { root, authorization } = await asW1(plane);
    const call = { csr: (await order()).request, identity: api as string, authorization, ...changed };
    const answer = await rawCall(
      plane,
      root,
      { csr: call.csr, ...(call.identity === undefined ? {} : { metadata: { ImpersonatedIdentity: call.identity } }) },
      call.authorization === undefined ? {} : { authorization: call.authorization },
    );
    expect(answer).toMatchObject({ code });
    const told = (answer as ServiceError).details;
    expect(told).toMatch(/^[a-z ]+ \(request 1\)$/);
    const [line, ...more] = linesOf(plane, /^certificate refused/);
    expect(more).toEqual([]);
    expect(line).toMatchObject({ request: 1, level: "warn" });
    expect(line?.message).toMatch(reason);
    expect(JSON.stringify(plane.lines)).not.toContain(authorization.slice("Bearer ".length));
  });
});

test("an RSA request is refused by the authority, whatever the client is", async () => {
  const plane = await startControlPlane([], apiOnW1);
  const { root, authorization } = await asW1(plane);
  const csr = execFileSync(
    "openssl",
    ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", join(plane.folder, "rsa.key"), "-subj", "/CN=x"],
    { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] },
  );
  const answer = await rawCall(plane, root, { csr, metadata: { ImpersonatedIdentity: api } }, { authorization });
  expect(answer).toMatchObject({ code: status.INVALID_ARGUMENT });
});

test("names in the request are ignored: the authority writes the identity itself", async () => {
  const plane = await startControlPlane([], apiOnW1);
  const { request } = await order(identityOf("database"));
  const [leaf = ""] = await plane.client("w1").createCertificate({ identity: api, request, lifetimeMs: 0 }, soon());
  expect(new X509Certificate(leaf).subjectAltName).toBe(`URI:${api}`);
  const csr = execFileSync(
    "openssl",
    [
      "req",
      "-new",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-nodes",
      "-keyout",
      join(plane.folder, "ec.key"),
      "-subj",
      "/CN=admin/O=system:masters",
      "-addext",
      "subjectAltName=DNS:warren-control,URI:spiffe://cluster.local/ns/a/sa/b",
      "-addext",
      "basicConstraints=critical,CA:TRUE",
      "-addext",
      "keyUsage=keyCertSign",
    ],
    { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] },
  );
  const { root, authorization } = await asW1(plane);
  const answer = await rawCall(plane, root, { csr, metadata: { ImpersonatedIdentity: api } }, { authorization });
  const certificate = new X509Certificate((answer as readonly string[])[0] ?? "");
  expect(certificate.subjectAltName).toBe(`URI:${api}`);
  expect(certificate.subject ?? "").toBe("");
  expect(certificate.ca).toBe(false);
});

test("a message beyond any request is cut off before it is read, an agent's too", async () => {
  const plane = await startControlPlane([], apiOnW1);
  const { root, authorization } = await asW1(plane);
  const session = connectHttp2(`https://127.0.0.1:${plane.port}`, { ca: root });
  onTestFinished(() => session.destroy());
  const { path } = grpcMethod(IstioCertificateService.method.createCertificate);
  const headers = { ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers" };
  const call = session.request({ ...headers, authorization });
  // A gRPC frame begins with a flag and its length: nothing of the 25 MiB is ever sent.
  const head = Buffer.alloc(5);
  head.writeUInt32BE(25 << 20, 1);
  call.write(head);
  const [answer] = (await once(call, "response", { signal: soon() })) as [IncomingHttpHeaders];
  expect(answer["grpc-status"]).toBe(String(status.RESOURCE_EXHAUSTED));
});

test.each([
  [0n, 86_400],
  [600n, 600],
  [864_000n, 86_400],
  [-1n, 86_400],
  [2n ** 62n, 86_400],
])("a lifetime of %d s asked gives %d s", async (asked, given) => {
  const plane = await startControlPlane([], apiOnW1);
  const { root, authorization } = await asW1(plane);
  const request = { csr: (await order()).request, metadata: { ImpersonatedIdentity: api }, validityDuration: asked };
  const [leaf = ""] = (await rawCall(plane, root, request, { authorization })) as readonly string[];
  const left = (new X509Certificate(leaf).validToDate.getTime() - Date.now()) / 1000;
  expect(left).toBeGreaterThan(given - 5);
  expect(left).toBeLessThanOrEqual(given + 1);
});

test("a pod that control hears of a moment later still gets its certificate with the first request", async () => {
  const plane = await startControlPlane();
  const { key: _key, ...wanted } = await order();
  const asked = plane.client("w1").createCertificate(wanted, soon());
  await plane.apply(...apiOnW1);
  expect(await asked).toHaveLength(3);
});

test("a pod that moved away takes its node's right along", async () => {
  const plane = await startControlPlane([], apiOnW1);
  const client = plane.client("w1");
  expect(await client.createCertificate(await order(), soon())).toHaveLength(3);
  await plane.apply(...podManifest("api", "w2"));
  await expect
    .poll(async () =>
      plane
        .client("w2")
        .createCertificate(await order(), soon())
        .catch(() => []),
    )
    .toHaveLength(3);
  await expect(client.createCertificate(await order(), soon())).rejects.toMatchObject({ code: "MESH_CA_REFUSED" });
});

test("tokens change while control runs, and a bad token file changes nothing", async () => {
  const plane = await startControlPlane([], apiOnW1);
  const client = plane.client("w1");
  await plane.setTokens({ w1: "another" });
  await expect.poll(() => linesOf(plane, /node tokens in force/).length, { timeout: 30_000 }).toBe(2);
  await expect(client.createCertificate(await order(), soon())).rejects.toMatchObject({
    code: "MESH_CA_UNAUTHENTICATED",
  });
  await writeFile(join(plane.folder, "w1.token"), "another");
  expect(await client.createCertificate(await order(), soon())).toHaveLength(3);
  await writeFile(join(plane.folder, "tokens.yaml"), "tokens: {w1: nonsense}");
  await expect
    .poll(() => linesOf(plane, /node tokens stay as they were: .*tokens.w1: is not a SHA-256/).length, {
      timeout: 30_000,
    })
    .toBe(1);
  expect(await client.createCertificate(await order(), soon())).toHaveLength(3);
});

test("a store lives on certificates of seconds through many renewals", async () => {
  await unlessStalled(300, async () => {
    const plane = await startControlPlane(["--certificate-lifetime=2s"], apiOnW1);
    const store = new CertificateStore(
      { authority: plane.client("w1"), clock: systemClock, random: Math.random, log: new RecordedLog() },
      certificateStoreDefaults,
    );
    onTestFinished(() => store.stop());
    const serials = new Set<string>();
    store.onChange(({ serial }) => serials.add(serial));
    store.hold(api);
    await store.wait(api, soon());
    // The store's timers don't keep a process alive; the poll does.
    await expect.poll(() => serials.size, { timeout: 30_000 }).toBeGreaterThanOrEqual(4);
    await expect.poll(() => store.get(api)).toBeDefined();
    expect(store.stats().failedTotal).toBe(0);
  });
});

test("control's own certificate is renewed under open connections", async () => {
  const plane = await startControlPlane(["--serving-lifetime=2s"], apiOnW1);
  const client = plane.client("w1");
  const ca = await readFile(join(plane.folder, "published/root.pem"), "utf8");
  const servingSerial = () =>
    new Promise<string>((resolve, reject) => {
      const socket = tlsConnect({ host: "127.0.0.1", port: plane.port, ca, ALPNProtocols: ["h2"] }, () => {
        const { serialNumber } = socket.getPeerCertificate();
        socket.destroy();
        resolve(serialNumber);
      });
      socket.on("error", reject);
    });
  // A machine that stands still for its two seconds lets it end before it is renewed.
  const wanted = await order();
  await expect.poll(async () => (await client.createCertificate(wanted, soon())).length).toBe(3);
  const first = await servingSerial();
  await expect.poll(servingSerial, { timeout: 30_000 }).not.toBe(first);
  expect(await client.createCertificate(await order(), soon())).toHaveLength(3);
});

test("agents need TLS 1.3 and the mesh's own root", async () => {
  const [plane, other] = [await startControlPlane([], apiOnW1), await startControlPlane([], apiOnW1)];
  const foreign = other.clientOptions("w1").rootFile;
  await expect(
    plane.client("w1", { rootFile: foreign, timeoutMs: 2000 }).createCertificate(await order(), soon()),
  ).rejects.toMatchObject({
    code: expect.stringMatching(/^MESH_CA_(UNREACHABLE|TIMEOUT)$/) as string,
  });
  const ca = await readFile(plane.clientOptions("w1").rootFile, "utf8");
  const outcome = await new Promise<string>((resolve) => {
    const socket = tlsConnect({ host: "127.0.0.1", port: plane.port, ca, maxVersion: "TLSv1.2" }, () =>
      resolve("connected"),
    );
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    onTestFinished(() => void socket.destroy());
  });
  expect(outcome).toMatch(/ALERT_PROTOCOL_VERSION|ECONNRESET/);
});

test("the name in control's certificate is checked, an IP like any other", async () => {
  const plane = await startControlPlane(["--serving-names=control.example.org"], apiOnW1);
  const ask = async (serverName: string, timeoutMs = 30_000) =>
    await plane.client("w1", { serverName, timeoutMs }).createCertificate(await order(), soon());
  for (const good of ["", "control.example.org", "127.0.0.1", "localhost"]) expect(await ask(good)).toHaveLength(3);
  for (const bad of ["other.example.org", "127.0.0.2"]) {
    await expect(ask(bad, 2000)).rejects.toMatchObject({
      code: expect.stringMatching(/^MESH_CA_(UNREACHABLE|TIMEOUT)$/) as string,
    });
  }
});

test("another root in the file makes another channel", async () => {
  const [plane, other] = [await startControlPlane([], apiOnW1), await startControlPlane([], apiOnW1)];
  const rootFile = join(plane.folder, "trusted.pem");
  const foreign = await readFile(other.clientOptions("w1").rootFile, "utf8");
  const own = await readFile(plane.clientOptions("w1").rootFile, "utf8");
  await writeFile(rootFile, foreign);
  const client = plane.client("w1", { rootFile, timeoutMs: 2000 });
  await expect(client.createCertificate(await order(), soon())).rejects.toThrow(rootFile);
  await writeFile(rootFile, foreign + own);
  const wanted = await order();
  await expect.poll(async () => (await client.createCertificate(wanted, soon())).length).toBe(3);
});

test("more requests at once than allowed are turned away and counted", async () => {
  // Each of these waits for its pod, so they are under way together.
  const plane = await startControlPlane(["--concurrency=2"]);
  const client = plane.client("w1");
  const wanted = await order();
  const outcomes = await Promise.allSettled([1, 2, 3].map(() => client.createCertificate(wanted, soon())));
  const errors = outcomes.map((outcome) => (outcome.status === "rejected" ? String(outcome.reason) : "issued"));
  expect(errors.filter((error) => error.includes("RESOURCE_EXHAUSTED"))).toHaveLength(1);
  expect(await metricsOf(plane)).toContain('warren_ca_requests_total{outcome="overloaded"} 1');
});

test("admin says ready, shows when certificates end, and has nothing else", async () => {
  const plane = await startControlPlane();
  const get = (path: string, init?: RequestInit) => fetch(`http://127.0.0.1:${plane.adminPort}${path}`, init);
  const ready = await get("/healthz/ready");
  expect([ready.status, await ready.text()]).toEqual([200, "ready\n"]);
  const metrics = await metricsOf(plane);
  for (const [which, days] of [
    ["root", 3650],
    ["intermediate", 365],
    ["serving", 1],
  ] as const) {
    const at = Number(
      new RegExp(`warren_ca_expiry_timestamp_seconds{certificate="${which}"} (\\d+)`).exec(metrics)?.[1],
    );
    expect((at * 1000 - Date.now()) / 86_400_000).toBeCloseTo(days, 1);
  }
  for (const outcome of ["issued", "unauthenticated", "denied", "invalid", "overloaded", "failed"]) {
    expect(metrics).toContain(`warren_ca_requests_total{outcome="${outcome}"} 0`);
  }
  expect(metrics).toContain("warren_discovery_untold_resources 0");
  expect(await (await get("/discovery/untold")).json()).toEqual([]);
  expect((await get("/state")).status).toBe(404);
  expect((await get("/metrics", { method: "POST" })).status).toBe(405);
});

test("the published root can be read by everybody, the state by nobody else", async () => {
  const { folder } = await startControlPlane();
  expect((await stat(join(folder, "published/root.pem"))).mode & 0o777).toBe(0o644);
  expect((await stat(join(folder, "state/authority.1.json"))).mode & 0o777).toBe(0o600);
  expect(await readFile(join(folder, "published/root.pem"), "utf8")).not.toContain("PRIVATE");
});

test("stop lets go of both ports, twice if need be", async () => {
  const { control, port, adminPort } = await startControlPlane();
  await Promise.all([control.stop(), control.stop()]);
  for (const closed of [port, adminPort]) {
    const code = await fetch(`http://127.0.0.1:${closed}/`).catch(
      (error: Error) => (error.cause as NodeJS.ErrnoException).code,
    );
    expect(code).toBe("ECONNREFUSED");
  }
});
