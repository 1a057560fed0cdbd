/** An answer of `why` as people read it: the verdict, what each side has seen, and likely causes with their fixes. Pure. */
import { counted, spanText } from "../output/words.ts";
import type { Colours } from "../query/output.ts";
import type { PairAnswer } from "./explain-pair.ts";

const securityWords: Readonly<Record<string, string>> = {
  mutual_tls: "mutual TLS",
  none: "plaintext",
  local: "inside the node",
  unknown: "never secured",
};

export function answerLines(one: PairAnswer, colours: Colours): string[] {
  const { source, destination, port, outcome, verdict, seen, causes } = one;
  const word = { ALLOW: colours.green("ALLOW"), DENY: colours.red("DENY"), DEPENDS: colours.yellow("DEPENDS") }[
    outcome
  ];
  const arrives = verdict.arrives === "mtls" ? "with mutual TLS" : "in plaintext";
  const mode = verdict.mode === "" ? "not enrolled" : verdict.mode;
  const asked = verdict.request === "" ? "" : `  ${verdict.request}`;
  return [
    `${word}  ${source.name} -> ${destination.name}:${port}${asked}  arrives ${arrives}; the port is ${mode}${verdict.policy === "" ? "" : `; ${verdict.policy} decides`}`,
    ...seen.map(
      (row) =>
        `  ${row.side.padEnd(11)} saw ${counted(row.connections, "connection")} (${securityWords[row.security] ?? row.security}), ${row.refused} refused, ${row.open} open, the last ${spanText(Date.now() - Date.parse(row.lastSeen))} ago`,
    ),
    ...(seen.length === 0 ? ["  neither agent has seen them talk"] : []),
    ...causes.flatMap(({ certainty, text, fix, code }) => [
      `  ${certainty.padEnd(11)} ${text}  ${colours.dim(`[${code}]`)}`,
      ...(fix === "" ? [] : [`  ${"".padEnd(11)} ${colours.dim(`-> ${fix}`)}`]),
    ]),
    ...(outcome === "DEPENDS"
      ? ["  depends     each request is judged; ask about one with --method, --path, --host, --header"]
      : causes.length === 0
        ? ["  nothing stands in the way"]
        : []),
  ];
}
