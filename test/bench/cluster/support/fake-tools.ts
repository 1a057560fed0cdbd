/** A folder of fake tools on PATH, with what they answer, and a checkout with something to deploy. */
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import { temporaryFolder } from "../../../support/temporary-folder.ts";
import type { Call, Reply } from "./fake-tool.ts";

const program = fileURLToPath(new URL("fake-tool.ts", import.meta.url));

export interface FakeTools {
  /** Of the child's: PATH and where the recordings are. */
  readonly environment: Readonly<Record<string, string>>;
  readonly machine: { readonly root: string; readonly proc: string };
  calls(): readonly Call[];
  /** `tool args`, in order; of one tool when named. */
  lines(tool?: string): readonly string[];
  /** From now on. */
  reply(...replies: readonly Reply[]): void;
  /** Puts the tools on this process's own PATH until the test ends. */
  install(): void;
}

export async function fakeTools(replies: readonly Reply[], tools = ["docker", "kind", "kubectl"]): Promise<FakeTools> {
  const folder = await temporaryFolder();
  const at = (...parts: string[]) => join(folder, ...parts);
  for (const path of ["bin", "checkout/deploy", "proc/sys/fs/inotify"]) mkdirSync(at(path), { recursive: true });
  for (const tool of tools) {
    writeFileSync(at("bin", tool), `#!/bin/sh\nexec "${process.execPath}" "${program}" ${tool} "$@"\n`);
    chmodSync(at("bin", tool), 0o755);
  }
  writeFileSync(at("checkout/Dockerfile"), "FROM scratch\n");
  writeFileSync(at("checkout/deploy/kustomization.yaml"), "resources: []\n");
  writeFileSync(at("proc/meminfo"), "MemTotal:       16000000 kB\nMemAvailable:   12000000 kB\n");
  writeFileSync(at("proc/sys/fs/inotify/max_user_instances"), "512\n");
  writeFileSync(at("proc/sys/fs/inotify/max_user_watches"), "524288\n");
  writeFileSync(at("calls.jsonl"), "");
  const reply = (...now: readonly Reply[]) => writeFileSync(at("replies.json"), JSON.stringify(now));
  reply(...replies);
  // Of the machine's own programs only what a shell and the guard of a cluster need: it may have a kubectl of its own.
  for (const name of ["sh", "cat", "rm"]) symlinkSync(`/bin/${name}`, at("bin", name));
  const environment = { PATH: at("bin"), FAKE_TOOLS: folder };
  const calls = () =>
    readFileSync(at("calls.jsonl"), "utf8")
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Call);
  return {
    environment,
    machine: { root: at("checkout"), proc: at("proc") },
    calls,
    lines: (tool) =>
      calls().flatMap((call) => (tool === undefined || call.tool === tool ? `${call.tool} ${call.args}` : [])),
    reply,
    install: () => {
      const before = { ...process.env };
      Object.assign(process.env, environment);
      onTestFinished(() => {
        process.env = before;
      });
    },
  };
}
