/** A Dockerfile's instructions, as far as ours uses them; anything else throws, so that nothing is passed over. */

export type Instruction =
  | { readonly kind: "run"; readonly command: string }
  | {
      readonly kind: "copy";
      readonly from: string | undefined;
      readonly sources: readonly string[];
      readonly to: string;
    }
  | { readonly kind: "workdir"; readonly path: string };

export interface Stage {
  readonly base: string;
  readonly name: string | undefined;
  readonly instructions: readonly Instruction[];
  readonly user: string | undefined;
  readonly entrypoint: readonly string[] | undefined;
}

export function readDockerfile(text: string): Stage[] {
  const lines = text
    .split("\n")
    .filter((line) => !line.startsWith("#"))
    .join("\n")
    .replaceAll(/\\\n\s*/g, "")
    .split("\n")
    .filter((line) => line.trim() !== "");
  const stages: (Stage & {
    instructions: Instruction[];
    user: string | undefined;
    entrypoint: string[] | undefined;
  })[] = [];
  for (const line of lines) {
    const word = line.slice(0, line.indexOf(" "));
    const rest = line.slice(word.length).trim();
    if (word === "FROM") {
      const [base = "", , name] = rest.split(" ");
      stages.push({ base, name, instructions: [], user: undefined, entrypoint: undefined });
      continue;
    }
    const stage = stages.at(-1);
    if (stage === undefined) throw new Error(`${word} stands before FROM`);
    if (word === "USER") stage.user = rest;
    else if (word === "ENTRYPOINT") stage.entrypoint = JSON.parse(rest) as string[];
    else stage.instructions.push(instruction(word, rest));
  }
  return stages;
}

function instruction(word: string, rest: string): Instruction {
  switch (word) {
    case "RUN":
      return { kind: "run", command: rest };
    case "WORKDIR":
      return { kind: "workdir", path: rest };
    case "COPY": {
      const words = rest.split(/ +/);
      const from = words[0]?.startsWith("--from=") === true ? words.shift()?.slice("--from=".length) : undefined;
      const to = words.pop();
      if (to === undefined || words.length === 0) throw new Error(`COPY ${rest}: from where, to where?`);
      return { kind: "copy", from, sources: words, to };
    }
    default:
      throw new Error(`${word} is not known to this test`);
  }
}
