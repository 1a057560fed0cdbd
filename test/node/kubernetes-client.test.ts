import { spawn } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { temporaryFolder } from "../support/temporary-folder.ts";

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

/** Every module that a process of ours loads until it says `until` or ends, by path. */
async function loadedBy(args: readonly string[], until: RegExp, environment: Record<string, string> = {}) {
  const folder = await temporaryFolder();
  const list = join(folder, "loaded");
  const hook = join(folder, "hook.mjs");
  await writeFile(
    hook,
    `import { appendFileSync } from "node:fs";
     import { registerHooks } from "node:module";
     registerHooks({ load(url, context, next) { appendFileSync(${JSON.stringify(list)}, url + "\\n"); return next(url, context); } });`,
  );
  const child = spawn(process.execPath, ["--import", hook, main, ...args], {
    env: { PATH: process.env["PATH"] ?? "", ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  let output = "";
  await new Promise<void>((resolve) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        output += text;
        if (until.test(output)) resolve();
      });
    }
    child.once("close", () => resolve());
  });
  child.kill("SIGKILL");
  return { loaded: (await readFile(list, "utf8")).trim().split("\n"), output };
}

const client = /\/@kubernetes\/client-node\//;

/**
 * All packages that may be in an agent at rest, where nothing asks for more: each stays in its memory. Not among them are what reads
 * other verbs' flags and manifests, writes tables, issues certificates or sends to a collector.
 */
const packagesAtRest: ReadonlySet<string> = new Set([
  "@bufbuild/protobuf",
  "@grpc/grpc-js",
  "@js-sdsl/ordered-map",
  "ipaddr.js",
  "pino",
  "prom-client",
  "zod",
  // Of pino.
  "@pinojs/redact",
  "atomic-sleep",
  "on-exit-leak-free",
  "pino-std-serializers",
  "quick-format-unescaped",
  "safe-stable-stringify",
  "sonic-boom",
  "thread-stream",
  // Of prom-client.
  "@opentelemetry/api",
  "bintrees",
  "tdigest",
]);

/** Every file and package that can come in from a file, whenever: what it imports, and what it imports while it runs. */
async function reachableFrom(start: string): Promise<ReadonlySet<string>> {
  const seen = new Set<string>();
  const visit = async (file: string): Promise<void> => {
    if (seen.has(file)) return;
    seen.add(file);
    if (!file.startsWith("/")) return;
    const text = await readFile(file, "utf8");
    for (const [, , specifier = ""] of text.matchAll(
      /(?:^import\s|^export\s[^;]*?\sfrom\s|\sfrom\s|import\()(\s*)"([^"]+)"/gm,
    )) {
      await visit(specifier.startsWith(".") ? join(dirname(file), specifier) : specifier);
    }
  };
  await visit(start);
  return seen;
}

test("an agent loads nothing of the Kubernetes client, nor of control, and no package that it can rest without", async () => {
  const folder = await temporaryFolder();
  await Promise.all([writeFile(join(folder, "root.pem"), ""), writeFile(join(folder, "token"), "t")]);
  const { loaded, output } = await loadedBy(
    [
      "node",
      "--node=n1",
      "--control-address=127.0.0.1:1",
      `--control-root-certificate=${join(folder, "root.pem")}`,
      `--control-token-file=${join(folder, "token")}`,
      "--admin=127.0.0.1:0",
      "--metrics=127.0.0.1:0",
      "--readiness=127.0.0.1:0",
      // Where there are no pods' cgroups it ends by itself, after it has bound its ports and tried to capture.
      `--capture-pods-cgroup=${join(folder, "pods")}`,
      `--capture-pin-directory=${join(folder, "missing", "pins")}`,
    ],
    /never/,
  );
  expect(output).toContain("listening");
  expect(loaded.some((url) => url.endsWith("/src/node/agent.ts"))).toBe(true);
  expect(loaded.filter((url) => client.test(url))).toEqual([]);
  expect(loaded.filter((url) => /\/src\/(control|lab|manifests)\//.test(url))).toEqual([]);
  const packages = loaded.flatMap((url) => /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1] ?? []);
  expect([...new Set(packages)].filter((name) => !packagesAtRest.has(name))).toEqual([]);
});

test("an agent has no way to them either, whatever it loads later", async () => {
  const reachable = await reachableFrom(fileURLToPath(new URL("../../src/cli/node.ts", import.meta.url)));
  const files = [...reachable];
  // The walk sees what is loaded late: the engines are.
  expect(files.some((file) => file.includes("/src/tunnel/native/"))).toBe(true);
  expect(files.some((file) => file.includes("/src/node/agent.ts"))).toBe(true);
  expect(files.filter((file) => file.startsWith("@kubernetes/"))).toEqual([]);
  expect(files.filter((file) => file.includes("/src/control/"))).toEqual([]);
});

test("control on manifests has not loaded it either, and on a cluster it has", async () => {
  const folder = await temporaryFolder();
  await writeFile(join(folder, "tokens.yaml"), `tokens: {w1: ${"a".repeat(64)}}\n`);
  const common = ["control", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0"];
  const manifests = [
    `--manifests=${folder}`,
    `--state=${join(folder, "state")}`,
    `--node-tokens=${join(folder, "tokens.yaml")}`,
  ];
  const without = await loadedBy([...common, ...manifests], /control plane ready/);
  expect(without.output).toContain("control plane ready");
  expect(without.loaded.filter((url) => client.test(url))).toEqual([]);
  const withCluster = await loadedBy([...common, "--kubernetes-config=/nowhere/kubeconfig"], /MESH_CONFIG_KUBERNETES/);
  expect(withCluster.output).toContain("MESH_CONFIG_KUBERNETES");
  expect(withCluster.loaded.some((url) => client.test(url))).toBe(true);
});
