/** Shell completion out of the command tree: sub-commands, flags, and the words that a flag takes. Pure. */
import type { Command } from "commander";

interface Flag {
  readonly long: string;
  readonly short: string;
  readonly description: string;
  /** Words it takes; empty when it takes none or any. */
  readonly choices: readonly string[];
  readonly takesValue: boolean;
}

interface Node {
  /** `certs`, or `lab up`. */
  readonly path: string;
  readonly description: string;
  readonly children: readonly string[];
  readonly flags: readonly Flag[];
}

export function completionScript(shell: "bash" | "zsh" | "fish", program: Command): string {
  const nodes = [...walk(program, "")];
  switch (shell) {
    case "bash":
      return bash(nodes);
    case "zsh":
      // zsh runs bash's functions; its own completion system is asked to.
      return `#compdef warren\nautoload -U +X bashcompinit && bashcompinit\n${bash(nodes)}`;
    case "fish":
      return fish(nodes);
  }
}

function* walk(command: Command, path: string): Iterable<Node> {
  yield {
    path,
    description: command.description(),
    children: command.commands.map((child) => child.name()),
    flags: command.options.map((option) => ({
      long: option.long ?? "",
      short: option.short ?? "",
      description: option.description,
      choices: option.argChoices ?? [],
      takesValue: option.required || option.optional,
    })),
  };
  for (const child of command.commands) yield* walk(child, path === "" ? child.name() : `${path} ${child.name()}`);
}

function bash(nodes: readonly Node[]): string {
  const words = nodes.map(({ path, children, flags }) => {
    const all = [...children, ...flags.map(({ long }) => long), "--help"].filter((word) => word !== "");
    return `    ${quoted(path)}) words=${quoted(all.join(" "))} ;;`;
  });
  const values = new Map<string, string>();
  for (const { path, flags } of nodes)
    for (const { long, short, choices } of flags)
      if (choices.length > 0)
        for (const name of [long, short]) if (name !== "") values.set(`${path}:${name}`, choices.join(" "));
  const paths = nodes.map(({ path }) => path).filter((path) => path !== "");
  return `_warren() {
  local word path="" words="" value=""
  COMPREPLY=()
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "\${path:+$path }$word" in
${paths.map((path) => `    ${quoted(path)}) path=${quoted(path)} ;;`).join("\n")}
    esac
  done
  case "$path:\${COMP_WORDS[COMP_CWORD-1]}" in
${[...values].map(([key, choices]) => `    ${quoted(key)}) value=${quoted(choices)} ;;`).join("\n")}
  esac
  if [ -n "$value" ]; then
    COMPREPLY=($(compgen -W "$value" -- "\${COMP_WORDS[COMP_CWORD]}"))
    return
  fi
  case "$path" in
${words.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _warren warren
`;
}

function fish(nodes: readonly Node[]): string {
  const lines = nodes.flatMap(({ path, children, flags }) => {
    const [first, second] = path.split(" ");
    const at =
      path === ""
        ? "__fish_use_subcommand"
        : second === undefined
          ? `__fish_seen_subcommand_from ${first}`
          : `__fish_seen_subcommand_from ${first}; and __fish_seen_subcommand_from ${second}`;
    const below = children.map((child) => {
      const description =
        nodes.find((node) => node.path === (path === "" ? child : `${path} ${child}`))?.description ?? "";
      return `complete -c warren -f -n ${quoted(at)} -a ${quoted(child)} -d ${quoted(description)}`;
    });
    const own = flags.map(({ long, short, description, choices, takesValue }) =>
      [
        `complete -c warren -n ${quoted(at)}`,
        long === "" ? "" : `-l ${long.replace(/^--/, "")}`,
        short === "" ? "" : `-s ${short.replace(/^-/, "")}`,
        takesValue ? "-r" : "",
        choices.length === 0 ? "" : `-a ${quoted(choices.join(" "))}`,
        `-d ${quoted(description)}`,
      ]
        .filter((part) => part !== "")
        .join(" "),
    );
    return [...below, ...own];
  });
  return `${lines.join("\n")}\n`;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
