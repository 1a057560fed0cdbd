/** The command line of the bench. Pure: what cannot be done is said before anything is started. */
import { parseArgs } from "node:util";
import { messageOf } from "../src/lib/errors.ts";
import { nearest } from "../src/lib/nearest.ts";
import { builtInVariants, type Target, targets, type Variant } from "./model.ts";

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
  readonly target: Target;
  /** Of an existing cluster: where, and what to run in it. */
  readonly context: string | undefined;
  readonly image: string | undefined;
  readonly loadImage: string | undefined;
}

/** What the command line may name. */
export interface Names {
  readonly scenarios: readonly string[];
  readonly variants: readonly Variant[];
}

export type Parsed =
  | { readonly kind: "run"; readonly request: BenchRequest }
  | { readonly kind: "help"; readonly text: string }
  | { readonly kind: "wrong"; readonly message: string };

export const quickRounds = 3;
export const fullRounds = 7;

export function usage({ scenarios }: Names): string {
  return `usage: npm run bench -- [options]

Measures the mesh on a two-node lab of this machine, variants interleaved round by round. Needs root.

  --quick                the seven ratios only, in under three minutes
  --json                 one JSON document on standard output and nothing else
  --scenario a,b         only these: ${scenarios.join(", ")}
  --variant a,b          only these of ${builtInVariants.join(", ")} and the peers given
  --rounds N             default ${fullRounds}, with --quick ${quickRounds}
  --compare old.json     show the change since a document of an earlier run; exit code 1 when a ratio got worse by a quarter
  --target WHERE         lab (default), kind (a cluster of its own), kubeconfig (one that is there); see docs/bench.md
  --context NAME         with kubeconfig: which cluster, default the current one
  --image REF            with kubeconfig: the image to deploy where no Warren runs yet
  --load-image REF       with kubeconfig: the image of the bench's pods (bench/cluster/Dockerfile)
  --peer NAME=COMMAND    another HBONE implementation beside ours, see docs/bench.md
  --out DIR              where the report goes, default bench/out/<date>
  --help
`;
}

export function parseBenchArguments(args: readonly string[], namesOf: (target: Target) => Names): Parsed {
  const wrong = (message: string): Parsed => ({ kind: "wrong", message });
  let values: ReturnType<typeof read>;
  try {
    values = read(args);
  } catch (error) {
    return wrong(messageOf(error));
  }
  const target = targets.find((name) => name === values.target);
  if (target === undefined) return wrong(`--target ${values.target}: there are ${targets.join(", ")}`);
  const names = namesOf(target);
  if (values.help) return { kind: "help", text: usage(names) };
  for (const name of ["context", "image", "load-image"] as const)
    if (values[name] !== undefined && target !== "kubeconfig") return wrong(`--${name} is for --target kubeconfig`);
  if (values.peer.length > 0 && target !== "lab") return wrong("--peer is for --target lab");
  const peers: Peer[] = [];
  for (const text of values.peer) {
    const [, name, command] = /^([a-z0-9][a-z0-9-]*)=(.+)$/s.exec(text) ?? [];
    if (name === undefined || command === undefined)
      return wrong(`--peer ${text}: write NAME=COMMAND, the name in lower-case letters, digits and dashes`);
    if ([...builtInVariants, ...peers.map((peer) => peer.name)].includes(name))
      return wrong(`--peer ${text}: there is a variant named ${name} already`);
    peers.push({ name, command });
  }
  const known = [...names.variants, ...peers.map(({ name }) => name)];
  const variants = values.variant === undefined ? known : list(values.variant);
  const wanted = values.scenario === undefined ? undefined : list(values.scenario);
  const unknown =
    unknownName("--variant", variants, known) ?? (wanted && unknownName("--scenario", wanted, names.scenarios));
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
      target,
      context: values.context,
      image: values.image,
      loadImage: values["load-image"],
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
      context: { type: "string" },
      image: { type: "string" },
      "load-image": { type: "string" },
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
