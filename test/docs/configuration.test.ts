import { expect, it } from "vitest";
import { controlConfigSchema } from "../../src/control/config.ts";
import { renderMarkdown } from "../../src/lib/config-help.ts";
import { knobsOf } from "../../src/lib/config-schema.ts";
import { nodeConfigSchema } from "../../src/node/config.ts";

const preamble = `# Configuration

<!-- Generated from the schemas by test/docs/configuration.test.ts; \`vitest run test/docs/configuration.test.ts -u\` writes it anew. -->

Each process reads its flags, then \`WARREN_*\` variables, then a YAML file named by \`--config\` or \`WARREN_CONFIG\`; what is found first wins.
The key of a table row is its place in the file (\`drain.deadline\` is \`deadline\` under \`drain\`), and below its description stand its
flag and its variable. Lists are written with commas in flags and variables.

Unknown keys and every other problem are reported together, each with its key, where it was written and what to write instead. The process
then exits with code 2 and has neither bound a port nor changed anything.

Durations carry units (\`500ms\`, \`1m30s\`, \`24h\`), sizes too (\`64KiB\`, \`1MiB\`). \`:15020\` listens on all addresses.
`;

const schemas = { "warren node": nodeConfigSchema, "warren control": controlConfigSchema };

it("docs/configuration.md is what the schemas say", async () => {
  const parts = Object.entries(schemas).map(([process, schema]) => `## ${process}\n\n${renderMarkdown(schema)}\n`);
  await expect([preamble, ...parts].join("\n")).toMatchFileSnapshot("../../docs/configuration.md");
});

it.each(Object.entries(schemas))(
  "%s describes every knob, and gives none the flag or variable of another",
  (_process, schema) => {
    const { list } = knobsOf(schema);
    expect(list.filter(({ description }) => description === "")).toEqual([]);
    expect(new Set(list.map(({ flag }) => flag)).size).toBe(list.length);
    expect(new Set(list.map(({ variable }) => variable)).size).toBe(list.length);
  },
);
