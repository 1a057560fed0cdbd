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
      return zsh(nodes);
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

/** The words that a flag takes, by `path:flag`. */
function choicesOf(nodes: readonly Node[]): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, readonly string[]>();
  for (const { path, flags } of nodes)
    for (const { long, short, choices } of flags)
      if (choices.length > 0) for (const name of [long, short]) if (name !== "") found.set(`${path}:${name}`, choices);
  return found;
}

function bash(nodes: readonly Node[]): string {
  const words = nodes.map(({ path, children, flags }) => {
    const all = [...children, ...flags.map(({ long }) => long), "--help"].filter((word) => word !== "");
    return `    ${quoted(path)}) words=${quoted(all.join(" "))} ;;`;
  });
  const values = choicesOf(nodes);
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
${[...values].map(([key, choices]) => `    ${quoted(key)}) value=${quoted(choices.join(" "))} ;;`).join("\n")}
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

/** In a file of `$fpath` the first line is what finds it, and its text is the function's body; sourced it has to say so itself. */
function zsh(nodes: readonly Node[]): string {
  const described = (name: string, description: string) => quoted(`${name}:${description.replaceAll(":", "\\:")}`);
  const cases = nodes.map(({ path, children, flags }) => {
    const verbs = children.map((child) => described(child, descriptionOf(nodes, path, child)));
    const options = flags.flatMap(({ long, description }) => (long === "" ? [] : [described(long, description)]));
    return `    ${quoted(path)}) verbs=(${verbs.join(" ")}); options=(${[...options, described("--help", "what it does")].join(" ")}) ;;`;
  });
  const paths = nodes.flatMap(({ path }) => (path === "" ? [] : [quoted(path)]));
  const values = [...choicesOf(nodes)].map(
    ([key, choices]) => `    ${quoted(key)}) compadd -- ${choices.map(quoted).join(" ")}; return ;;`,
  );
  return `#compdef warren
_warren() {
  local at="" index
  local -a verbs options
  for (( index = 2; index < CURRENT; index++ )); do
    case "\${at:+$at }\${words[index]}" in
    ${paths.join("|")}) at="\${at:+$at }\${words[index]}" ;;
    esac
  done
  case "$at:\${words[CURRENT-1]}" in
${values.join("\n")}
  esac
  case "$at" in
${cases.join("\n")}
  esac
  if [[ "\${words[CURRENT]}" == -* ]]; then
    _describe -o option options
  elif (( \${#verbs} )); then
    _describe command verbs
  else
    _files
  fi
}
if [[ "\${funcstack[1]}" == _warren ]]; then _warren "$@"; else compdef _warren warren; fi
`;
}

function fish(nodes: readonly Node[]): string {
  const paths = nodes.flatMap(({ path }) => (path === "" ? [] : [quoted(path)]));
  const lines = nodes.flatMap(({ path, children, flags }) => {
    const at = `-n ${quoted(`__warren_at ${path === "" ? '""' : `"${path}"`}`)}`;
    const below = children.map((child) => {
      const description = descriptionOf(nodes, path, child);
      return `complete -c warren -f ${at} -a ${quoted(child)} -d ${quoted(description)}`;
    });
    const own = flags.map(({ long, short, description, choices, takesValue }) =>
      [
        `complete -c warren ${at}`,
        long === "" ? "" : `-l ${long.replace(/^--/, "")}`,
        short === "" ? "" : `-s ${short.replace(/^-/, "")}`,
        // Files are no use where there are words to choose from.
        choices.length > 0 ? `-x -a ${quoted(choices.join(" "))}` : takesValue ? "-r" : "",
        `-d ${quoted(description)}`,
      ]
        .filter((part) => part !== "")
        .join(" "),
    );
    return [...below, ...own];
  });
  return `function __warren_at
  set -l at ""
  for word in (commandline -opc)[2..-1]
    set -l next (string trim -- "$at $word")
    contains -- $next ${paths.join(" ")}; and set at $next
  end
  test "$at" = "$argv[1]"
end
${lines.join("\n")}
`;
}

function descriptionOf(nodes: readonly Node[], path: string, child: string): string {
  return nodes.find((node) => node.path === (path === "" ? child : `${path} ${child}`))?.description ?? "";
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
