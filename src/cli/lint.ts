/** `warren lint`: policies that are wrong, or valid and probably not meant. */
import { type Command, Option } from "commander";
import type { Exit } from "./exit.ts";
import type { ListFormat } from "./output/mesh-flags.ts";
import type { Cluster, ClusterOptions } from "./query/cluster.ts";
import { type LocatedFinding, type Severity, severities } from "./query/located-findings.ts";
import { addOutputOption, type Colours, printAnswer } from "./query/output.ts";
import { addSourceOptions, openSource, readFiles, type SourceFlags, settingsOf } from "./query/source.ts";

interface LintFlags extends SourceFlags {
  readonly file?: readonly string[];
  readonly lab?: true;
  readonly failOn: Severity;
  readonly output: ListFormat;
}

const help = `
With -f alone nothing but the files is read, and no cluster is needed: every line is about the objects in them. With --manifests,
--lab or --context as well, the files' objects are put in place of the cluster's of the same name and compared with its workloads and
Services. Without -f the whole cluster is linted.

Each finding is one line, FILE:LINE CODE MESSAGE. Codes are stable; --codes lists them. Severities: error (it does not work as
written), warning (probably not what is meant), note (worth knowing).

Exit status:
  0  nothing at or over --fail-on was found
  1  something was
  2  a file named by -f can't be read, or a flag is wrong
  3  there is no cluster to read: no lab is up and no kubeconfig leads to one, or the folder can't be read

Examples:
  warren lint -f examples/policies/api-authz.yaml
  kubectl get authorizationpolicies,peerauthentications -A -o yaml | warren lint -f -
  warren lint -f policy.yaml --lab
  warren lint -f policy.yaml --context staging
  warren lint --manifests deploy/ --fail-on note -o json
`;

export function registerLint(program: Command, exit: Exit): void {
  const command = program
    .command("lint")
    .description("Finds policies that cannot work, or are valid and probably not what their author means.")
    .option("-f, --file <path...>", "files and folders of manifests; - is standard input")
    .option("--lab", "compare with the running lab")
    .option("--codes", "list the codes and what each says, and exit")
    .addOption(
      new Option("--fail-on <severity>", "exit with 1 from this severity on")
        .choices([...severities])
        .default("warning"),
    );
  addOutputOption(addSourceOptions(command))
    .addHelpText("after", help)
    .action(async (flags: LintFlags & { readonly codes?: true }) => {
      if (flags.codes === true) await printCodes(flags.output);
      else exit(await lintCommand(flags));
    });
}

async function printCodes(output: ListFormat): Promise<void> {
  const { lintCodes } = await import("../policy/lint-codes.ts");
  const codes = Object.entries(lintCodes).map(([code, says]) => ({ code, says }));
  await printAnswer(
    {
      schema: "warren.lint-codes/v1",
      document: { codes },
      rows: codes,
      name: ({ code }) => code,
      lines: () => codes.map(({ code, says }) => `${code}  ${says}`),
    },
    { output },
  );
}

async function lintCommand(flags: LintFlags): Promise<number> {
  const [{ readCluster }, { locateFindings }, { lint }] = [
    await import("./query/cluster.ts"),
    await import("./query/located-findings.ts"),
    await import("../policy/lint.ts"),
  ];
  const files = flags.file === undefined ? undefined : readFiles(flags.file);
  const named = [flags.manifests, flags.lab, flags.name, flags.context].some((flag) => flag !== undefined);
  const alone = files !== undefined && !named;
  const source = alone ? undefined : await openSource(flags);
  const options: ClusterOptions = source ?? {
    settings: settingsOf(flags),
    defaultNamespace: flags.namespace ?? "default",
  };
  const cluster = readCluster(source?.objects ?? [], files ?? [], options);
  const whole = source !== undefined || holdsPods(cluster);
  const asked = files && new Set(files.map(({ file }) => file));
  const findings = locateFindings(cluster, lint(cluster.view, { whole }), (file) => asked?.has(file) ?? true);
  if ((flags.output === "table" || flags.output === "wide") && findings.length === 0)
    process.stderr.write("no findings\n");
  await printAnswer(
    {
      schema: "warren.lint/v1",
      document: { findings },
      rows: findings,
      name: ({ file, line, object, code }) => (line === 0 ? `${object} ${code}` : `${file}:${line}:${code}`),
      lines: (colours) => findingLines(findings, colours),
    },
    flags,
  );
  const limit = severities.indexOf(flags.failOn);
  return findings.some(({ severity }) => severities.indexOf(severity) >= limit) ? 1 : 0;
}

/** Manifests that hold pods are a cluster to compare policies with. */
function holdsPods({ objects }: Cluster): boolean {
  for (const { kind } of objects.values()) if (kind === "Pod") return true;
  return false;
}

export function findingLines(findings: readonly LocatedFinding[], colours: Colours): string[] {
  return findings.map(({ file, line, code, severity, object, field, message }) => {
    const about = [object, field].filter((text) => text !== "").join(" ");
    const paint = severity === "error" ? colours.red : severity === "warning" ? colours.yellow : colours.dim;
    // What no file says is found by its name.
    return `${line === 0 ? "" : `${file}:${line} `}${paint(code)} ${about === "" ? "" : `${about}: `}${message}`;
  });
}
