import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { temporaryFolder } from "../support/temporary-folder.ts";

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

interface Running {
  readonly child: ChildProcess;
  readonly output: () => string;
  readonly exit: Promise<number | null>;
}

function warren(...args: string[]): Running {
  const { PATH } = process.env;
  const child = spawn(process.execPath, [main, "control", ...args], { env: { PATH } });
  onTestFinished(() => void child.kill("SIGKILL"));
  let text = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  return { child, output: () => text, exit: new Promise((resolve) => child.once("close", resolve)) };
}

/** Node starts, reads all of the program and makes an authority's keys: a busy machine may take most of a test's time for that. */
const patience = { timeout: 100_000 };

async function flags(): Promise<{ folder: string; args: string[] }> {
  const folder = await temporaryFolder();
  await mkdir(join(folder, "manifests"));
  const digest = createHash("sha256").update("secret").digest("hex");
  await writeFile(join(folder, "tokens.yaml"), `tokens:\n  w1: ${digest}\n`);
  const args = [
    `--manifests=${join(folder, "manifests")}`,
    `--state=${join(folder, "state")}`,
    `--node-tokens=${join(folder, "tokens.yaml")}`,
    `--publish-root=${join(folder, "root.pem")}`,
    "--listen=127.0.0.1:0",
    "--admin=127.0.0.1:0",
  ];
  return { folder, args };
}

test.each(["SIGTERM", "SIGINT"] as const)("runs until %s and then ends with 0", async (signal) => {
  const { folder, args } = await flags();
  const { child, output, exit } = warren(...args);
  await expect.poll(output, patience).toContain("control plane ready");
  const adminPort = /adminPort=(\d+)/.exec(output())?.[1];
  expect((await fetch(`http://127.0.0.1:${adminPort}/healthz/ready`)).status).toBe(200);
  child.kill(signal);
  expect(await exit).toBe(0);
  expect(output()).toContain("stopping");
  expect((await readdir(folder)).sort()).toEqual(["manifests", "root.pem", "state", "tokens.yaml"]);
});

test("a bad configuration names every problem, exits 2 and has touched nothing", async () => {
  const { folder, args } = await flags();
  const { output, exit } = warren(
    ...args.filter((arg) => !arg.startsWith("--node-tokens")),
    "--trust-domain=Not Good",
    "--certificate-lifetime=forever",
    "--lissen=:1",
  );
  expect(await exit).toBe(2);
  for (const key of ["trustDomain", "certificateLifetime", "--lissen", "nodeTokens"]) expect(output()).toContain(key);
  expect((await readdir(folder)).sort()).toEqual(["manifests", "tokens.yaml"]);
});

test.each([
  ["--certificate-lifetime=200d --intermediate-lifetime=300d", "certificateLifetime"],
  ["--intermediate-lifetime=300d --root-lifetime=30d", "intermediateLifetime"],
  ["--serving-names=good.example,not/good", "servingNames"],
])("%s contradicts itself", async (bad, key) => {
  const { args } = await flags();
  const { output, exit } = warren(...args, ...bad.split(" "));
  expect(await exit).toBe(2);
  expect(output()).toContain(key);
});

test("a token file that cannot be used stops the start with its name and field", async () => {
  const { folder, args } = await flags();
  await writeFile(join(folder, "tokens.yaml"), "tokens: {w1: plaintext-token}");
  const { output, exit } = warren(...args);
  expect(await exit).toBe(1);
  expect(output()).toMatch(/tokens\.yaml: tokens\.w1: is not a SHA-256 in hexadecimal \(MESH_NODE_TOKENS_INVALID\)/);
  expect(output()).not.toContain("plaintext-token");
});

test("two nodes may not share a token", async () => {
  const { folder, args } = await flags();
  const digest = createHash("sha256").update("secret").digest("hex");
  await writeFile(join(folder, "tokens.yaml"), `tokens: {w1: ${digest}, w2: ${digest}}`);
  const { output, exit } = warren(...args);
  expect(await exit).toBe(1);
  expect(output()).toContain("tokens.w2: another node has the same token");
});

test("a port that is taken is named", async () => {
  const { args } = await flags();
  const first = warren(...args);
  await expect.poll(first.output, patience).toContain("control plane ready");
  const port = / port=(\d+)/.exec(first.output())?.[1];
  const second = warren(
    ...(await flags()).args.filter((arg) => !arg.startsWith("--listen")),
    `--listen=127.0.0.1:${port}`,
  );
  expect(await second.exit).toBe(1);
  expect(second.output()).toMatch(new RegExp(`cannot listen on 127\\.0\\.0\\.1:${port}.*MESH_LISTEN_FAILED`));
});

test("--help documents every knob", async () => {
  const { output, exit } = warren("--help");
  expect(await exit).toBe(0);
  for (const flag of [
    "--manifests",
    "--state",
    "--listen",
    "--publish-root",
    "--node-tokens",
    "--trust-domain",
    "--certificate-lifetime",
    "--log-level",
  ]) {
    expect(output()).toContain(`${flag}=`);
  }
});
