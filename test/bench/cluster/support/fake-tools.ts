/** A folder of fake tools on PATH, with what they answer, and a checkout with something to deploy. */
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { temporaryFolder } from "../../../support/temporary-folder.ts";

export interface Reply {
  readonly tool: string;
  /** A pattern that bash knows too, searched in the arguments, joined by spaces. */
  readonly args: string;
  /** `{{calls}}` becomes the number of calls so far: a counter that grows. */
  readonly stdout?: string;
  readonly stderr?: string;
  readonly code?: number;
  /** Never answers; ends when it is told to, or when nobody waits for it any more. */
  readonly hangs?: boolean;
}

export interface Call {
  readonly tool: string;
  readonly args: string;
  readonly stdin: string;
}

/**
 * Stands in for docker, kind and kubectl: answers a command line with what was recorded for it, and writes down that it was asked. In bash,
 * because a run has hundreds of command lines.
 */
function toolScript(tool: string, folder: string): string {
  return `#!/bin/bash
tool=${tool} args="$*" stdin=""
if [[ " $args " == *" --filename=- "* ]]; then stdin=$(/bin/cat); fi
printf '%s\\0' "$tool" "$args" "$stdin" >> ${quoted(join(folder, "calls"))}
source ${quoted(join(folder, "replies"))}
echo "nothing was recorded for $tool $args" >&2
exit 97
`;
}

/** The first that fits answers. */
function replyScript({ tool, args, stdout = "", stderr = "", code = 0, hangs = false }: Reply, folder: string): string {
  const counted = stdout.includes("{{calls}}")
    ? `calls=$(tr -dc '\\0' < ${quoted(join(folder, "calls"))} | wc -c); out="\${out//\\{\\{calls\\}\\}/$calls}"`
    : ":";
  const answer = hangs
    ? "while [[ -d /proc/$PPID ]]; do /bin/sleep 0.1; done; exit 1"
    : `out=${quoted(stdout)}; ${counted}; printf '%s' "$out"; printf '%s' ${quoted(stderr)} >&2; exit ${code}`;
  return `pattern=${quoted(args)}\nif [[ $tool == ${quoted(tool)} && $args =~ $pattern ]]; then ${answer}; fi\n`;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

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
    writeFileSync(at("bin", tool), toolScript(tool, folder));
    chmodSync(at("bin", tool), 0o755);
  }
  writeFileSync(at("checkout/Dockerfile"), "FROM scratch\n");
  writeFileSync(at("checkout/deploy/kustomization.yaml"), "resources: []\n");
  writeFileSync(at("proc/meminfo"), "MemTotal:       16000000 kB\nMemAvailable:   12000000 kB\n");
  writeFileSync(at("proc/sys/fs/inotify/max_user_instances"), "512\n");
  writeFileSync(at("proc/sys/fs/inotify/max_user_watches"), "524288\n");
  writeFileSync(at("calls"), "");
  const reply = (...now: readonly Reply[]) =>
    writeFileSync(at("replies"), now.map((one) => replyScript(one, folder)).join(""));
  reply(...replies);
  // Of the machine's own programs only what a shell and the guard of a cluster need: it may have a kubectl of its own.
  for (const name of ["sh", "cat", "rm", "tr", "wc"]) symlinkSync(`/usr/bin/${name}`, at("bin", name));
  const environment = { PATH: at("bin") };
  const calls = (): readonly Call[] => {
    const words = readFileSync(at("calls"), "utf8").split("\0");
    return Array.from({ length: Math.floor(words.length / 3) }, (_, index) => {
      const [tool = "", args = "", stdin = ""] = words.slice(index * 3);
      return { tool, args, stdin };
    });
  };
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
