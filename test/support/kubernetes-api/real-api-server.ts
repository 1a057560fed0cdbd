/**
 * A real kube-apiserver over a real etcd, started from the folder that `KUBEBUILDER_ASSETS` names (as `setup-envtest` fills it), for
 * the tests that must hold for the double and for Kubernetes alike. There are no controllers and no kubelet: pods never run, and
 * their status is what a test writes.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { parseAllDocuments } from "yaml";
import { makeParty } from "../pki.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { ApiCalls } from "./calls.ts";
import type { Cluster } from "./cluster.ts";
import type { DraftObject } from "./objects.ts";

const startMs = 60_000;

export async function realCluster(assets: string): Promise<Cluster> {
  const folder = await temporaryFolder();
  const at = (name: string) => join(folder, name);
  const [etcdPort, peerPort, apiPort] = [await freePort(), await freePort(), await freePort()];
  const adminToken = randomBytes(24).toString("hex");
  const root = await makeParty({ subject: "CN=kubernetes", authority: true });
  const names = [
    { type: "ip", value: "127.0.0.1" },
    { type: "dns", value: "localhost" },
  ] as const;
  const serving = await makeParty({ subject: "CN=kube-apiserver", names: [...names], purposes: ["server"] }, root);
  const accounts = generateKeyPairSync("ec", { namedCurve: "P-256" });
  await Promise.all([
    writeFile(at("tls.crt"), serving.pem),
    writeFile(at("tls.key"), serving.key, { mode: 0o600 }),
    writeFile(at("sa.key"), accounts.privateKey.export({ type: "sec1", format: "pem" }), { mode: 0o600 }),
    writeFile(at("tokens.csv"), `${adminToken},kubernetes-admin,admin,"system:masters"\n`, { mode: 0o600 }),
  ]);
  const etcdUrl = `http://127.0.0.1:${etcdPort}`;
  const peerUrl = `http://127.0.0.1:${peerPort}`;
  start(join(assets, "etcd"), [
    `--data-dir=${at("etcd")}`,
    `--listen-client-urls=${etcdUrl}`,
    `--advertise-client-urls=${etcdUrl}`,
    `--listen-peer-urls=${peerUrl}`,
    `--initial-advertise-peer-urls=${peerUrl}`,
    `--initial-cluster=default=${peerUrl}`,
    "--unsafe-no-fsync",
  ]);
  start(join(assets, "kube-apiserver"), [
    `--etcd-servers=${etcdUrl}`,
    "--bind-address=127.0.0.1",
    `--secure-port=${apiPort}`,
    `--cert-dir=${at("certificates")}`,
    `--tls-cert-file=${at("tls.crt")}`,
    `--tls-private-key-file=${at("tls.key")}`,
    `--token-auth-file=${at("tokens.csv")}`,
    "--authorization-mode=RBAC",
    "--service-cluster-ip-range=10.96.0.0/16",
    "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
    `--service-account-key-file=${at("sa.key")}`,
    `--service-account-signing-key-file=${at("sa.key")}`,
    // Without its controllers nobody would make the accounts that this plugin waits for.
    "--disable-admission-plugins=ServiceAccount",
  ]);
  const calls = new ApiCalls(`https://127.0.0.1:${apiPort}`, root.pem, adminToken);
  await until(async () => (await calls.call("GET", "/api/v1/namespaces/default")).code === 200);
  await installCrds(calls);
  return calls;
}

function start(program: string, args: readonly string[]): ChildProcess {
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"] });
  let tail = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (tail = (tail + chunk).slice(-4000)));
  child.on("error", (error) => (tail = error.message));
  onTestFinished(async ({ task }) => {
    if (task.result?.state === "fail") process.stderr.write(`${program}: ${tail}\n`);
    if (child.exitCode !== null || child.pid === undefined) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await gone;
  });
  return child;
}

async function installCrds(calls: ApiCalls): Promise<void> {
  for (const plural of ["peerauthentications", "authorizationpolicies"]) {
    const text = await readFile(new URL(`../../../deploy/crds/${plural}.yaml`, import.meta.url), "utf8");
    const documents = parseAllDocuments(text);
    for (const document of "empty" in documents ? [] : documents) {
      await calls.apply(document.toJS({ maxAliasCount: -1 }) as DraftObject);
    }
    await until(async () => (await calls.call("GET", `/apis/security.istio.io/v1/${plural}`)).code === 200);
  }
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  const deadline = AbortSignal.timeout(startMs);
  while (!(await condition().catch(() => false))) {
    deadline.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Free a moment ago: etcd and the API server take no port 0. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}
