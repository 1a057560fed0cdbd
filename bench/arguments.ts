/** The command line of the bench. Pure: what cannot be done is said before anything is started. */
import { parseArgs } from "node:util";
import { messageOf } from "../src/lib/errors.ts";
import { nearest } from "../src/lib/nearest.ts";
import { builtInVariants, type Variant } from "./model.ts";

export interface Peer {
  readonly name: string;
  /** For `sh -c`. */
  readonly command: string;
}

export interface BenchRequest {
  readonly quick: boolean;
  readonly json: boolean;
  /** Names or groups; undefined for those of the mode. */
  readonly scenarios: readonly string[] | undefined;
  readonly variants: readonly Variant[];
  readonly rounds: number;
  readonly compare: string | undefined;
  readonly peers: readonly Peer[];
  readonly out: string | undefined;
}

export type Parsed =
  | { readonly kind: "run"; readonly request: BenchRequest }
  | { readonly kind: "help"; readonly text: string }
  | { readonly kind: "wrong"; readonly message: string; readonly exitCode: 2 | 3 };

export const quickRounds = 3;
export const fullRounds = 7;

export function usage(scenarios: readonly string[]): string {
  return `usage: npm run bench -- [options]

Measures the mesh on a two-node lab of this machine, variants interleaved round by round. Needs root.

  --quick                the seven ratios only, in under three minutes
  --json                 one JSON document on standard output and nothing else
  --scenario a,b         only these: ${scenarios.join(", ")}
  --variant a,b          only these of direct, typescript, warren and the peers given
  --rounds N             default ${fullRounds}, with --quick ${quickRounds}
  --compare old.json     show the change since a document of an earlier run; exit code 1 when a ratio got worse by a quarter
  --target lab           where to measure
  --peer NAME=COMMAND    another HBONE implementation beside ours, see docs/bench.md
  --out DIR              where the report goes, default bench/out/<date>
  --help
`;
}

export function parseBenchArguments(args: readonly string[], scenarios: readonly string[]): Parsed {
  const wrong = (message: string, exitCode: 2 | 3 = 2): Parsed => ({ kind: "wrong", message, exitCode });
  let values: ReturnType<typeof read>;
  try {
    values = read(args);
  } catch (error) {
    return wrong(messageOf(error));
  }
  if (values.help) return { kind: "help", text: usage(scenarios) };
  if (values.target !== "lab") {
    if (values.target === "kind" || values.target === "kubeconfig")
      return wrong(`--target ${values.target} is not available in this version; use --target lab`, 3);
    return wrong(`--target ${values.target}: there is only lab`);
  }
  const peers: Peer[] = [];
  for (const text of values.peer) {
    const [, name, command] = /^([a-z0-9][a-z0-9-]*)=(.+)$/s.exec(text) ?? [];
    if (name === undefined || command === undefined)
      return wrong(`--peer ${text}: write NAME=COMMAND, the name in lower-case letters, digits and dashes`);
    if ([...builtInVariants, ...peers.map((peer) => peer.name)].includes(name))
      return wrong(`--peer ${text}: there is a variant named ${name} already`);
    peers.push({ name, command });
  }
  const known = [...builtInVariants, ...peers.map(({ name }) => name)];
  const variants = values.variant === undefined ? known : list(values.variant);
  const wanted = values.scenario === undefined ? undefined : list(values.scenario);
  const unknown = unknownName("--variant", variants, known) ?? (wanted && unknownName("--scenario", wanted, scenarios));
  if (unknown !== undefined) return wrong(unknown);
  const rounds = values.rounds ?? String(values.quick ? quickRounds : fullRounds);
  if (!/^[1-9]\d{0,2}$/.test(rounds)) return wrong(`--rounds ${rounds} is not a whole number from 1 to 999`);
  return {
    kind: "run",
    request: {
      quick: values.quick,
      json: values.json,
      scenarios: wanted,
      // In the order of the report, whatever the order on the command line.
      variants: known.filter((name) => variants.includes(name)),
      rounds: Number(rounds),
      compare: values.compare,
      peers: peers.filter(({ name }) => variants.includes(name)),
      out: values.out,
    },
  };
}

function read(args: readonly string[]) {
  return parseArgs({
    args: [...args],
    options: {
      quick: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      scenario: { type: "string" },
      variant: { type: "string" },
      rounds: { type: "string" },
      compare: { type: "string" },
      target: { type: "string", default: "lab" },
      peer: { type: "string", multiple: true, default: [] },
      out: { type: "string" },
      help: { type: "boolean", default: false },
    },
  }).values;
}

function list(text: string): string[] {
  return text
    .split(",")
    .map((part) => part.trim())
    .filter(Boolean);
}

function unknownName(flag: string, names: readonly string[], known: readonly string[]): string | undefined {
  if (names.length === 0) return `${flag} names nothing; known: ${known.join(", ")}`;
  const stranger = names.find((name) => !known.includes(name));
  if (stranger === undefined) return undefined;
  const close = nearest(stranger, known);
  const hint = close === undefined ? "" : `; did you mean ${close}?`;
  return `${flag} ${stranger} is not known${hint} Known: ${known.join(", ")}`;
}
