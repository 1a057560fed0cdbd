/** What a run ran on: without it a figure is a rumour. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism, release, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { withoutAesInstructions } from "./lab/aes-mask.ts";
import { splitProcessors } from "./lab/processors.ts";
import type { Environment, Sample } from "./model.ts";
import type { RunResults } from "./runner.ts";
import { median } from "./statistics.ts";

const runFile = promisify(execFile);
const root = fileURLToPath(new URL("..", import.meta.url));

/** Those that decide how fast AES-GCM and SHA are. */
const cryptoFlags = [
  "aes",
  "pclmulqdq",
  "vaes",
  "vpclmulqdq",
  "avx2",
  "avx512f",
  "avx512bw",
  "avx512vl",
  "sha_ni",
  "pmull",
];

export async function describeEnvironment(
  options: Pick<Environment, "quick" | "rounds" | "target"> & {
    readonly date: Date;
    readonly from: Environment["program"];
    readonly cluster: Environment["cluster"];
  },
  results: RunResults,
): Promise<Environment> {
  const cpuinfo = readFileSync("/proc/cpuinfo", "utf8");
  const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, "m").exec(cpuinfo)?.[1] ?? "unknown";
  const present = new Set([...field("flags").split(" "), ...field("Features").split(" ")]);
  const flags = cryptoFlags.filter((flag) => present.has(flag));
  const split = splitProcessors();
  return {
    date: options.date.toISOString(),
    target: options.target,
    ...(options.cluster !== undefined && { cluster: options.cluster }),
    quick: options.quick,
    rounds: options.rounds,
    cpu: { model: field("model name"), count: availableParallelism(), flags },
    memoryBytes: totalmem(),
    kernel: release(),
    node: process.version,
    openssl: process.versions.openssl ?? "unknown",
    nghttp2: process.versions["nghttp2"] ?? "unknown",
    iperf3: (await output("iperf3", ["--version"])).split("\n")[0] ?? "",
    mtu: results.mtu,
    commit: (await output("git", ["-C", root, "rev-parse", "HEAD"])).trim(),
    changed: (await output("git", ["-C", root, "status", "--porcelain", "--untracked-files=no"])).trim() !== "",
    program: options.from,
    pinning: options.target === "lab" ? split : undefined,
    realTime: split && results.realTime,
    aes256gcm: { plain: await aesSpeed({}), masked: await aesSpeed(withoutAesInstructions) },
    knee: results.knee,
    noise: typicalNoise(results.samples),
  };
}

function typicalNoise(samples: readonly Sample[]): Environment["noise"] {
  return {
    steal: median(samples.map(({ noise }) => noise.steal)) ?? 0,
    foreign: median(samples.flatMap(({ noise }) => noise.foreign ?? [])),
  };
}

/** Empty where a program is missing: that is no reason to lose the run. */
async function output(program: string, args: readonly string[]): Promise<string> {
  try {
    return (await runFile(program, [...args], { timeout: 10_000 })).stdout;
  } catch {
    return "";
  }
}

const aesProgram = `
const { createCipheriv } = require("node:crypto");
const [key, iv, block] = [Buffer.alloc(32), Buffer.alloc(12), Buffer.alloc(16384)];
const out = createCipheriv("aes-256-gcm", key, iv);
for (let i = 0; i < 200; i++) out.update(block);
let bytes = 0;
const started = performance.now();
while (performance.now() - started < 250) for (let i = 0; i < 64; i++) bytes += out.update(block).length;
process.stdout.write(String(bytes / (performance.now() - started) / 1e6));
`;

async function aesSpeed(env: Readonly<Record<string, string>>): Promise<number> {
  const { stdout } = await runFile(process.execPath, ["-e", aesProgram], {
    env: { ...process.env, ...env },
    timeout: 20_000,
  });
  return Number(Number(stdout).toPrecision(3));
}
