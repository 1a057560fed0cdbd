/** `warren ca verify` without a mesh: files, folders and live endpoints against roots that are named. */
import { execFile } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createServer } from "node:tls";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { makeCrl, makeParty, type Party } from "../../support/pki.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

const main = fileURLToPath(new URL("../../../src/main.ts", import.meta.url));
const identity = "spiffe://cluster.local/ns/production/sa/api";
const day = 86_400_000;

let root: Party;
let mesh: Party;
let leaf: Party;
let serving: Party;
beforeAll(async () => {
  root = await makeParty({ subject: "CN=root", authority: true, notAfter: Date.now() + 90 * day });
  mesh = await makeParty({ subject: "CN=mesh", authority: true, notAfter: Date.now() + 60 * day }, root);
  const names = [{ type: "url" as const, value: identity }];
  leaf = await makeParty({ names, serial: "2a", purposes: ["client", "server"] }, mesh);
  serving = await makeParty(
    { subject: "CN=control", names: [{ type: "dns", value: "localhost" }], purposes: ["server"] },
    mesh,
  );
});

async function files(texts: Record<string, string>): Promise<string> {
  const folder = await temporaryFolder();
  await writeFile(join(folder, "root.pem"), root.pem);
  for (const [name, text] of Object.entries(texts)) await writeFile(join(folder, name), text);
  return folder;
}

interface Verdict {
  readonly code: number;
  readonly stderr: string;
  readonly results: readonly Record<string, unknown>[];
}

function verify(folder: string, ...args: readonly string[]): Promise<Verdict> {
  return new Promise((resolve) => {
    const all = [main, "ca", "verify", ...args, "--roots", "root.pem", "-o", "json"];
    execFile(process.execPath, all, { cwd: folder }, (error, stdout, stderr) => {
      const results = stdout === "" ? [] : (JSON.parse(stdout) as { results: Record<string, unknown>[] }).results;
      resolve({ code: typeof error?.code === "number" ? error.code : 0, stderr, results });
    });
  });
}

async function endpoint({ pem, key }: Party): Promise<string> {
  const server = createServer({
    cert: pem + mesh.pem,
    key,
    minVersion: "TLSv1.3",
    requestCert: true,
    ALPNProtocols: ["h2"],
  });
  server.on("tlsClientError", () => {});
  server.listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  onTestFinished(() => void server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe("warren ca verify", () => {
  test("trusts a chain that leads to the roots, and says whom it proves", async () => {
    const folder = await files({ "chain.pem": leaf.pem + mesh.pem });
    const { code, results } = await verify(folder, "chain.pem");
    expect(results).toMatchObject([{ what: "chain.pem", verdict: "trusted", proves: identity }]);
    expect(code).toBe(0);
  });

  test.each<[string, () => Promise<readonly [Record<string, string>, readonly string[]]>, string]>([
    ["whose intermediate is missing", async () => [{ "chain.pem": leaf.pem }, []], "tls-failed"],
    [
      "that is revoked",
      async () => [{ "chain.pem": leaf.pem + mesh.pem, "crl.pem": await makeCrl(mesh, ["2a"]) }, ["--crl", "crl.pem"]],
      "certificate-revoked",
    ],
    [
      "of another trust domain",
      async () => [{ "chain.pem": leaf.pem + mesh.pem }, ["--trust-domain", "other.example"]],
      "identity-mismatch",
    ],
  ])("refuses a chain %s, with 1", async (_what, make, reason) => {
    const [texts, flags] = await make();
    const { code, results } = await verify(await files(texts), "chain.pem", ...flags);
    expect(results).toMatchObject([{ verdict: "refused", reason }]);
    expect(code).toBe(1);
  });

  test("asks endpoints for what they show: a workload's, and control's own", async () => {
    const folder = await files({});
    const addresses = [await endpoint(leaf), await endpoint(serving)];
    const { code, results } = await verify(folder, "--endpoint", ...addresses);
    expect(results).toMatchObject([
      { verdict: "trusted", proves: identity },
      { verdict: "trusted", proves: "DNS:localhost" },
    ]);
    expect(code).toBe(0);
  });

  test("ends with 3 when an endpoint is not there", async () => {
    const { code, results } = await verify(await files({}), "--endpoint", "127.0.0.1:1");
    expect(results).toMatchObject([{ verdict: "unreachable" }]);
    expect(code).toBe(3);
  });

  test("judges a folder of plug-in certificates as control does", async () => {
    const folder = await files({});
    await mkdir(join(folder, "cacerts"));
    const put = (name: string, text: string) => writeFile(join(folder, "cacerts", name), text);
    await Promise.all([put("ca-cert.pem", mesh.pem), put("ca-key.pem", mesh.key), put("cert-chain.pem", mesh.pem)]);
    expect(await verify(folder, "cacerts")).toMatchObject({
      code: 1,
      results: [
        {
          verdict: "refused",
          reason: "plug-in-unusable",
          detail: "root-cert.pem is missing; all four files are needed",
        },
      ],
    });
    await put("root-cert.pem", root.pem);
    expect(await verify(folder, "cacerts")).toMatchObject({ code: 0, results: [{ verdict: "trusted" }] });
  });

  test("ends with 2 when nothing is named, or a file is not there", async () => {
    const folder = await files({});
    expect(await verify(folder)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("MESH_CONFIG_VERIFY") as string,
    });
    expect(await verify(folder, "no.pem")).toMatchObject({ code: 2 });
  });
});
