import { describe, expect, it } from "vitest";
import { z } from "zod";
import { ConfigError, type ConfigInput, loadConfig } from "../../src/lib/config.ts";
import { renderHelp, renderMarkdown } from "../../src/lib/config-help.ts";
import { address, byteSize, duration, knobsOf, listenAddress, path } from "../../src/lib/config-schema.ts";

const schema = z.strictObject({
  node: z.string().min(1).describe("Name of the node."),
  workers: z.int().min(1).max(64).prefault(2).describe("Threads."),
  names: z.array(z.string()).prefault([]).describe("A list."),
  releaseOnExit: z.boolean().prefault(false).describe("A switch."),
  control: z
    .strictObject({
      address: address().prefault("control:15012").describe("Where control is."),
      rootCertificate: path().optional().describe("Its root."),
    })
    .describe("The control plane."),
  drain: z
    .strictObject({
      deadline: duration({ min: "1s", max: "1h" }).prefault("25s").describe("How long."),
      window: byteSize({ max: "4MiB" }).prefault("1MiB").describe("How much."),
    })
    .describe("Stopping."),
  admin: listenAddress().optional().describe("Where to listen."),
  format: z.enum(["text", "json"]).prefault("text").describe("Of the log."),
});

function load(args: string[], environment: ConfigInput["environment"] = {}, file?: string) {
  return loadConfig(schema, {
    args: file === undefined ? args : ["--config=w.yaml", ...args],
    environment,
    read: async (name) => {
      if (file === undefined || name !== "w.yaml") throw new Error(`ENOENT: ${name}`);
      return file;
    },
  });
}

async function problems(...input: Parameters<typeof load>): Promise<string[]> {
  const error = await load(...input).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof ConfigError)) throw new Error(`expected a ConfigError, got ${String(error)}`);
  expect(error.code).toBe("MESH_CONFIG_INVALID");
  return error.problems.map(({ key, from, text }) => `${key} | ${from} | ${text}`);
}

describe("loadConfig", () => {
  it("fills what nobody set from the defaults, in the program's own units", async () => {
    const { value, origins } = await load(["--node=n1"]);
    expect(value).toEqual({
      node: "n1",
      workers: 2,
      names: [],
      releaseOnExit: false,
      control: { address: { host: "control", port: 15012 } },
      drain: { deadline: 25_000, window: 1024 * 1024 },
      format: "text",
    });
    expect([...origins]).toEqual([["node", "--node"]]);
  });

  it("lets a flag win over a variable and a variable over the file", async () => {
    const file = "node: file\nworkers: 3\nformat: json\ncontrol:\n  rootCertificate: /file\n";
    const { value, origins } = await load(
      ["--node", "flag"],
      { WARREN_NODE: "env", WARREN_WORKERS: "4", WARREN_CONTROL_ADDRESS: "[::1]:1" },
      file,
    );
    expect(value).toMatchObject({
      node: "flag",
      workers: 4,
      format: "json",
      control: { address: { host: "::1", port: 1 }, rootCertificate: "/file" },
    });
    expect(origins.get("node")).toBe("--node");
    expect(origins.get("workers")).toBe("WARREN_WORKERS");
    expect(origins.get("format")).toBe("w.yaml:3");
    expect(origins.get("control.rootCertificate")).toBe("w.yaml:5");
  });

  it("reads switches, lists and file values of their own type", async () => {
    expect((await load(["--node=n", "--release-on-exit", "--names=a, b", "--names=c"])).value).toMatchObject({
      releaseOnExit: true,
      names: ["a", "b", "c"],
    });
    expect((await load(["--node=n", "--release-on-exit=false"])).value.releaseOnExit).toBe(false);
    const file = "node: n\nreleaseOnExit: true\nnames: [x, y]\ndrain: { deadline: 2s }\ncontrol:\n";
    expect((await load([], {}, file)).value).toMatchObject({
      releaseOnExit: true,
      names: ["x", "y"],
      drain: { deadline: 2000 },
    });
  });

  it.each([
    ["127.0.0.1:0", { host: "127.0.0.1", port: 0 }],
    [":15020", { host: "", port: 15020 }],
    ["[::]:15020", { host: "::", port: 15020 }],
  ])("listens at %s", async (text, expected) => {
    expect((await load(["--node=n", `--admin=${text}`])).value.admin).toEqual(expected);
  });

  it("takes the file's name from WARREN_CONFIG", async () => {
    const environment = { WARREN_CONFIG: "w.yaml" };
    const read = async () => "node: from-file";
    expect((await loadConfig(schema, { args: [], environment, read })).value.node).toBe("from-file");
  });

  it("ignores the variables that a kubelet adds for a Service named warren-control", async () => {
    const environment = {
      WARREN_CONTROL_SERVICE_HOST: "10.96.0.7",
      WARREN_CONTROL_SERVICE_PORT: "15012",
      WARREN_CONTROL_SERVICE_PORT_GRPC: "15012",
      WARREN_CONTROL_PORT: "tcp://10.96.0.7:15012",
      WARREN_CONTROL_PORT_15012_TCP: "tcp://10.96.0.7:15012",
      WARREN_CONTROL_PORT_15012_TCP_ADDR: "10.96.0.7",
    };
    expect((await load(["--node=n"], environment)).value.node).toBe("n");
  });

  it("leaves variables alone that are read elsewhere", async () => {
    const input = { args: ["--node=n"], environment: { WARREN_ELSEWHERE: "x" }, otherVariables: ["WARREN_ELSEWHERE"] };
    expect((await loadConfig(schema, input)).value.node).toBe("n");
  });

  const wrong: [name: string, input: Parameters<typeof load>, expected: string[]][] = [
    ["a missing key", [[]], ["node |  | is required; set --node, WARREN_NODE, or node in the file"]],
    ["an unknown flag", [["--node=n", "--wokers=3"]], ["--wokers | argument | unknown flag; did you mean --workers?"]],
    [
      "an unknown flag and its value as one problem",
      [["--node=n", "--zzzzzzzzzz", "3"]],
      ["--zzzzzzzzzz | argument | unknown flag; see --help for the ones there are"],
    ],
    [
      "an unknown variable",
      [["--node=n"], { WARREN_WORKER: "3" }],
      ["WARREN_WORKER | environment | unknown variable; did you mean WARREN_WORKERS?"],
    ],
    [
      "an unknown key with its line",
      [["--node=n"], {}, "drain:\n  deadlin: 3s\n"],
      ["drain.deadlin | w.yaml:2 | unknown key; did you mean drain.deadline?"],
    ],
    [
      "a word that is no flag",
      [["--node=n", "extra"]],
      ["extra | argument | is not a flag; flags look like --key=value"],
    ],
    [
      "a flag without its value",
      [["--node"]],
      [
        "node | --node | needs a value: --node=<text>",
        "node |  | is required; set --node, WARREN_NODE, or node in the file",
      ],
    ],
    ["a flag given twice", [["--node=a", "--node=b"]], ["node | --node | is given twice; keep one"]],
    ["a word for a number", [["--node=n", "--workers=two"]], ["workers | --workers | is not a number; write <number>"]],
    [
      "a number too big",
      [["--node=n"], { WARREN_WORKERS: "65" }],
      ["workers | WARREN_WORKERS | is too big; the most is 64"],
    ],
    ["an empty name", [["--node="]], ["node | --node | is too small; the least is 1"]],
    [
      "a word outside the choice",
      [["--node=n", "--format=xml"]],
      ["format | --format | is not one of the values known here; write text or json"],
    ],
    [
      "a duration without a unit",
      [["--node=n"], {}, "drain: { deadline: '10' }"],
      ['drain.deadline | w.yaml:1 | "10" is not a duration; write a number with a unit, like 500ms, 10s or 1m30s'],
    ],
    [
      "a duration written as a number in the file",
      [["--node=n"], {}, "drain: { deadline: 10 }"],
      ["drain.deadline | w.yaml:1 | is not a duration; write a number with a unit, like 500ms, 10s or 1m30s"],
    ],
    [
      "a duration out of bounds",
      [["--node=n", "--drain-deadline=2h"]],
      [
        'drain.deadline | --drain-deadline | "2h" is not between 1s and 1h; write a number with a unit, like 500ms, 10s or 1m30s',
      ],
    ],
    [
      "a size out of bounds",
      [["--node=n", "--drain-window=1GiB"]],
      [
        'drain.window | --drain-window | "1GiB" is not between 0B and 4MiB; write a whole number with a unit, like 64KiB or 1MiB',
      ],
    ],
    [
      "an address without a port",
      [["--node=n"], { WARREN_CONTROL_ADDRESS: "control" }],
      [
        'control.address | WARREN_CONTROL_ADDRESS | "control" is not a host:port; write it like 10.0.0.1:15012 or [::1]:15012',
      ],
    ],
    [
      "a value where a group belongs",
      [["--node=n"], {}, "control: x"],
      ["control | w.yaml:1 | must be a group of keys, not a value"],
    ],
    [
      "a value where a group belongs, also when a variable sets a key of the group",
      [["--node=n"], { WARREN_CONTROL_ADDRESS: "a:1" }, "control: x"],
      ["control | w.yaml:1 | must be a group of keys, not a value"],
    ],
    [
      "a file that is no mapping",
      [["--node=n"], {}, "- a"],
      ["config | w.yaml:1 | must be a mapping of keys to values"],
    ],
  ];
  it.each(wrong)("names %s", async (_name, input, expected) => {
    expect(await problems(...input)).toEqual(expected);
  });

  it("names a file that cannot be read, and one that is not YAML with its line", async () => {
    expect(await problems(["--node=n", "--config=missing.yaml"])).toEqual([
      "config | missing.yaml | cannot be read: ENOENT: missing.yaml",
    ]);
    const [problem, ...more] = await problems(["--node=n"], {}, "node: a\nnode: b\n");
    expect(more).toEqual([]);
    expect(problem).toMatch(/^config \| w\.yaml:2 \| is not YAML: /);
  });

  it("reports the problems of all three sources together", async () => {
    const found = await problems(["--workers=0"], { WARREN_FORMAT: "xml" }, "drain: { deadline: soon }\nnod: a\n");
    expect(found.map((line) => line.split(" | ").slice(0, 2).join(" "))).toEqual([
      "node ",
      "workers --workers",
      "drain.deadline w.yaml:1",
      "format WARREN_FORMAT",
      "nod w.yaml:2",
    ]);
  });

  it("does not repeat the value of a key that it does not know, which may be a secret", async () => {
    const found = await problems(["--node=n", "--password=hunter2"], { WARREN_TOKEN: "hunter2" }, "token: hunter2");
    expect(found).toHaveLength(3);
    expect(found.join()).not.toContain("hunter2");
  });

  it("keeps a __proto__ key of the file from reaching any prototype", async () => {
    expect(await problems(["--node=n"], {}, "__proto__: { polluted: true }")).toHaveLength(1);
    expect("polluted" in {}).toBe(false);
  });
});

describe("what a schema says about itself", () => {
  it("gives every knob its own flag and variable", () => {
    const { list } = knobsOf(schema);
    expect(list.map(({ flag, variable }) => `${flag} ${variable}`)).toEqual([
      "--node WARREN_NODE",
      "--workers WARREN_WORKERS",
      "--names WARREN_NAMES",
      "--release-on-exit WARREN_RELEASE_ON_EXIT",
      "--control-address WARREN_CONTROL_ADDRESS",
      "--control-root-certificate WARREN_CONTROL_ROOT_CERTIFICATE",
      "--drain-deadline WARREN_DRAIN_DEADLINE",
      "--drain-window WARREN_DRAIN_WINDOW",
      "--admin WARREN_ADMIN",
      "--format WARREN_FORMAT",
    ]);
  });

  it("prints help with what to write, the default and the reason of every knob", () => {
    const help = renderHelp(schema);
    expect(help).toContain("  --node=<text> (required)\n      Name of the node.");
    expect(help).toContain("  --drain-deadline=<duration> (default 25s)\n      How long.");
    expect(help).toContain("\ndrain: Stopping.\n");
    for (const { flag } of knobsOf(schema).list) expect(help).toContain(`  ${flag}=`);
  });

  it("prints a Markdown row per knob", () => {
    const markdown = renderMarkdown(schema).split("\n");
    expect(markdown).toHaveLength(2 + knobsOf(schema).list.length);
    expect(markdown.at(-1)).toBe("| `format` | `text\\|json` | `text` | Of the log.<br>`--format` `WARREN_FORMAT` |");
  });
});
