import { request } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { CertificateRow } from "../../src/identity/certificate-store.ts";
import type { IssuedCertificate } from "../../src/identity/issued-certificate.ts";
import { HttpServer } from "../../src/lib/http-server.ts";
import type { MeshView } from "../../src/model/mesh.ts";
import { type AdminSources, adminRoutes, readinessRoutes } from "../../src/node/admin.ts";
import type { OpenFlow, OpenTunnel } from "../../src/tunnel/driver.ts";
import { apiIdentity, label, localPod, record, workload } from "../telemetry/fixtures.ts";

const certificate: IssuedCertificate & { privateKey: string } = {
  identity: apiIdentity,
  chain: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
  trustBundle: "",
  serial: "5f0c",
  notBefore: 1_700_000_000_000,
  notAfter: 1_700_086_400_000,
  issuer: "warren intermediate",
  keyType: "P-256",
  privateKey: "-----BEGIN PRIVATE KEY-----",
};

const row: CertificateRow = {
  identity: apiIdentity,
  state: "ready",
  holders: 1,
  certificate,
  renewsAt: 1_700_043_200_000,
  lastError: "",
  failures: 0,
};

const tunnel = {
  tunnel: 3,
  direction: "outbound",
  pod: 1,
  group: 2,
  peerAddress: { address: "10.244.2.8", port: 15008 },
  peer: apiIdentity,
  tls: { version: "TLSv1.3", group: "X25519MLKEM768", cipher: "TLS_AES_256_GCM_SHA384" },
  setupMs: 4,
  openedAt: 1_700_000_000_000,
  flows: 2,
  localPod: localPod("web"),
} as unknown as OpenTunnel;

let level = "info";
let blockers: { name: string; forMs: number }[] = [];

const sources: AdminSources = {
  version: "1.2.3",
  config: { node: "n1" },
  view: () =>
    ({
      epoch: 9,
      settings: { trustDomain: "cluster.local" },
      workloads: () => [workload("api")],
      services: () => [],
      authorizationPolicies: () => [],
      peerAuthentications: () => [{ name: "strict", portModes: new Map([[8080, "STRICT"]]) }],
    }) as unknown as MeshView,
  problems: () => [{ file: "pod.yaml", message: "no name" }],
  pods: () => [
    {
      uid: "u",
      namespace: "production",
      name: "api-1",
      identity: apiIdentity,
      addresses: ["10.0.0.1"],
      state: "captured",
      backend: "ebpf",
      netns: { ino: 4_026_531_840n, cookie: 18_446_744_073_709_551_615n },
      capturedAt: 1,
      verifiedAt: 2,
      failures: 0,
      lastError: "",
    },
  ],
  certificates: () => [row],
  flows: () => [
    { ...record(), judged: label({ policy: "production/p" }), localPod: localPod("web") } as unknown as OpenFlow,
  ],
  tunnels: () => [tunnel],
  stats: () => ({ engine: { flowsOpen: 1 } }),
  blockers: () => blockers,
  logLevel: {
    get: () => level,
    set: (next) => {
      level = next;
    },
    known: ["debug", "info"],
  },
};

async function urlOf(server: HttpServer): Promise<string> {
  const { host, port } = await server.start();
  return `http://${host}:${port}`;
}

describe("the admin port", () => {
  let server: HttpServer;
  let base = "";
  beforeEach(async () => {
    level = "info";
    blockers = [];
    const listen = { host: "127.0.0.1", port: 0 };
    server = new HttpServer(
      { ...adminRoutes(sources), ...readinessRoutes(sources) },
      { name: "admin", listen, loopbackOnly: true },
    );
    base = await urlOf(server);
  });
  afterEach(() => server.stop());

  const getJson = async (path: string) => (await fetch(base + path)).json();

  it("lists its pages at /", async () => {
    const body = await (await fetch(`${base}/`)).text();
    expect(body).toContain("warren node 1.2.3");
    for (const page of [
      "GET /config_dump",
      "GET /certs",
      "GET /flows",
      "GET /tunnels",
      "GET /stats",
      "POST /log-level",
    ]) {
      expect(body).toContain(page);
    }
  });

  it("dumps the state of the mesh, the pods and the problems, maps and big numbers included", async () => {
    expect(await getJson("/config_dump")).toMatchObject({
      version: "1.2.3",
      epoch: 9,
      config: { node: "n1" },
      settings: { trustDomain: "cluster.local" },
      pods: [{ name: "api-1", state: "captured", netns: { cookie: "18446744073709551615" } }],
      problems: [{ file: "pod.yaml", message: "no name" }],
      workloads: [{ name: "api-1", labels: { app: "api" } }],
      policies: { peerAuthentication: [{ name: "strict", portModes: { "8080": "STRICT" } }] },
    });
  });

  it("lists certificates without their keys", async () => {
    const response = await fetch(`${base}/certs`);
    const body = await response.text();
    expect(JSON.parse(body)).toEqual([
      {
        identity: apiIdentity,
        state: "ready",
        holders: 1,
        serial: "5f0c",
        issuer: "warren intermediate",
        keyType: "P-256",
        notBefore: "2023-11-14T22:13:20.000Z",
        notAfter: "2023-11-15T22:13:20.000Z",
        renewsAt: "2023-11-15T10:13:20.000Z",
        failures: 0,
        lastError: "",
      },
    ]);
    expect(response.headers.get("content-type")).toBe("application/json; charset=utf-8");
    for (const page of ["/certs", "/config_dump", "/flows", "/tunnels", "/stats"]) {
      expect(await (await fetch(base + page)).text()).not.toContain("PRIVATE");
    }
  });

  it("lists open connections with what they were judged to be", async () => {
    expect(await getJson("/flows")).toMatchObject([
      {
        flow: 7,
        role: "outbound",
        pod: "production/web-1",
        sourceWorkload: "production/web-1",
        destinationWorkload: "production/api-1",
        service: "api.production.svc.cluster.local",
        policy: "production/p",
        arrivedAt: "2023-11-14T22:13:20.000Z",
      },
    ]);
  });

  it("lists tunnels with what was negotiated", async () => {
    expect(await getJson("/tunnels")).toMatchObject([
      {
        tunnel: 3,
        direction: "outbound",
        peerAddress: { address: "10.244.2.8" },
        tls: tunnel.tls,
        flows: 2,
        pod: "production/web-1",
      },
    ]);
  });

  it("shows and changes the log level, and refuses levels that there are not", async () => {
    expect(await (await fetch(`${base}/log-level`)).text()).toBe("info\n");
    expect((await fetch(`${base}/log-level?level=debug`, { method: "POST" })).status).toBe(200);
    expect(level).toBe("debug");
    for (const wrong of ["?level=loud", ""]) {
      const response = await fetch(`${base}/log-level${wrong}`, { method: "POST" });
      expect([response.status, await response.text()]).toEqual([400, "POST /log-level?level=<debug|info>\n"]);
    }
    expect(level).toBe("debug");
  });

  it("says what it waits for until it is ready", async () => {
    blockers = [
      { name: "capture", forMs: 1234 },
      { name: "mesh-state", forMs: 50 },
    ];
    const response = await fetch(`${base}/healthz/ready`);
    expect(response.status).toBe(503);
    expect(await response.text()).toBe("not ready, waiting for: capture (1.2s), mesh-state (0.1s)\n");
    blockers = [];
    expect((await fetch(`${base}/healthz/ready`)).status).toBe(200);
  });

  it.each([
    ["an unknown page", "/nothing", "GET", 404],
    ["the wrong method", "/certs", "POST", 405],
    ["a change by GET", "/config_dump", "DELETE", 405],
    ["a HEAD", "/healthz", "HEAD", 200],
  ])("answers %s", async (_name, path, method, status) => {
    const response = await fetch(base + path, { method });
    expect(response.status).toBe(status);
    if (method === "HEAD") expect(await response.text()).toBe("");
  });

  it("refuses requests that a web page sends through a browser of this machine", async () => {
    const status = await new Promise<number>((resolve, reject) => {
      const { hostname, port } = new URL(base);
      request({ hostname, port, path: "/config_dump", headers: { host: "evil.example" } }, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      })
        .on("error", reject)
        .end();
    });
    expect(status).toBe(403);
  });

  it("answers 500 with the reason when a page cannot be made", async () => {
    const broken = new HttpServer(
      {
        "GET /": () => {
          throw new Error("no state yet");
        },
      },
      { name: "admin", listen: { host: "127.0.0.1", port: 0 }, loopbackOnly: true },
    );
    const response = await fetch(await urlOf(broken));
    expect([response.status, await response.text()]).toEqual([500, "no state yet\n"]);
    await broken.stop();
  });

  it("says which port is taken when it cannot listen, and stops twice without complaint", async () => {
    const listen = { host: "127.0.0.1", port: Number(new URL(base).port) };
    const second = new HttpServer({}, { name: "admin", listen, loopbackOnly: true });
    await expect(second.start()).rejects.toMatchObject({
      code: "MESH_LISTEN_FAILED",
      message: expect.stringContaining(`admin cannot listen on 127.0.0.1:${listen.port}`),
    });
    await second.stop();
    await second.stop();
  });
});
