/** How much of the program its help needs: in modules, because time is the machine's. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Files of the program and of packages that a run of it loads. */
function loaded(...args: string[]): string[] {
  // The hook sees every module that is loaded, by import or require, and writes its name to standard error.
  const hooks = `
    import { registerHooks } from "node:module";
    import { writeSync } from "node:fs";
    registerHooks({ load(url, context, next) { if (url.startsWith("file:")) writeSync(2, "loaded " + url + "\\n"); return next(url, context); } });`;
  const { stderr } = spawnText([
    "--import",
    `data:text/javascript,${encodeURIComponent(hooks)}`,
    "src/main.ts",
    ...args,
  ]);
  return [...stderr.matchAll(/^loaded (.*)$/gm)].map(([, url = ""]) => fileURLToPath(url).replace(root, ""));
}

function spawnText(args: string[]): { stderr: string } {
  const script = `const {spawnSync} = require("node:child_process"); process.stdout.write(spawnSync(process.execPath, ${JSON.stringify(args)}, {encoding: "utf8"}).stderr)`;
  return { stderr: execFileSync(process.execPath, ["-e", script], { cwd: root, encoding: "utf8" }) };
}

const packagesOf = (files: readonly string[]) =>
  new Set(files.flatMap((file) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1] ?? []));

test("--help loads the table of verbs, and neither a verb nor the parser of flags", () => {
  const files = loaded("--help");
  expect([...packagesOf(files)]).toEqual([]);
  expect(files.filter((file) => file.startsWith("src/")).sort()).toEqual([
    "src/cli/program.ts",
    "src/lib/errors.ts",
    "src/lib/version.ts",
    "src/main.ts",
  ]);
});

test("a verb's help loads neither gRPC nor the Kubernetes client, and none of the agent", () => {
  for (const verb of ["connections", "check", "status"]) {
    const files = loaded(verb, "--help");
    expect([...packagesOf(files)].filter((name) => /grpc|kubernetes|protobuf|opentelemetry|pino/.test(name))).toEqual(
      [],
    );
    expect(files.filter((file) => /^src\/(node|control|tunnel|capture|lab)\//.test(file))).toEqual([]);
  }
});

test("a verb that needs no cluster loads no Kubernetes client", () => {
  expect([...packagesOf(loaded("version", "--client"))]).not.toContain("@kubernetes/client-node");
});
