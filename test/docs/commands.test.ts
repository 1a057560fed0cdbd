import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { judge } from "../../src/cli/query/health-checks.ts";
import { machineChecks } from "../../src/cli/query/preflight.ts";
import { warren } from "../cli/support/run-cli.ts";
import { readSchema } from "../support/documents.ts";

const docs = (path: string) => fileURLToPath(new URL(`../../docs/${path}`, import.meta.url));
const page = readFileSync(docs("commands.md"), "utf8");

test("docs/commands.md names every verb that --help lists", async () => {
  const { stdout } = await warren("--help");
  const listed = stdout.slice(0, stdout.indexOf("\nOptions:"));
  const verbs = [...listed.matchAll(/^ {2}([a-z-]+)/gm)].map(([, verb]) => verb);
  expect(verbs.length).toBeGreaterThan(20);
  // What runs a part of the mesh has pages of its own.
  const elsewhere = new Set(["demo", "lab", "node", "control"]);
  expect(verbs.filter((verb) => verb !== undefined && !elsewhere.has(verb) && !page.includes(verb))).toEqual([]);
});

test("every published schema is listed, and says its own name", () => {
  for (const file of readdirSync(docs("schemas"))) {
    expect(page).toContain(`schemas/${file}`);
    const name = `warren.${file.replace(/-(v\d+)\.json$/, "/$1")}`;
    expect(readSchema(name)).toMatchObject({ $id: name, properties: { schema: { const: name } } });
  }
});

test("every check is explained", () => {
  const machine = {
    release: "",
    aes: "none",
    descriptors: { used: 0, limit: 0 },
    inotifyInstances: { used: 0, limit: 0 },
    conntrack: undefined,
  };
  const codes = [
    ...judge({ controls: [], nodes: [], certificates: [], workloads: [], now: 0 }),
    ...machineChecks({
      platform: "",
      root: false,
      machine,
      kernel: { untried: "" },
      mounts: "",
      takenPorts: [],
      otherMeshes: [],
    }),
  ].map(({ code }) => code);
  expect(codes.filter((code) => !page.includes(`\`${code}\``))).toEqual([]);
});
