/** The flags that every verb has which looks at a running mesh. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { parseDuration } from "../../lib/duration.ts";
import { defaultMeshNamespace } from "../../xds/operator-target.ts";
import type { MeshConnectOptions } from "../query/mesh-client.ts";

export const listFormats = ["table", "wide", "json", "yaml", "jsonl", "name"] as const;
export type ListFormat = (typeof listFormats)[number];

export interface MeshFlags extends MeshConnectOptions {
  readonly node?: readonly string[];
  readonly namespace?: string;
  readonly timeout: number;
  readonly color: boolean;
}

export interface ListFlags extends MeshFlags {
  readonly output: ListFormat;
  readonly watch?: true;
}

/** Where the mesh is, and how long to wait for it. */
export function addMeshOptions(command: Command): Command {
  return command
    .option("--context <context>", "of the kubeconfig (default: the running lab, else the current context)")
    .addOption(meshNamespaceOption())
    .option("--name <lab>", "which lab, when several are up")
    .option("--control <address>", "host:port, or unix:/path, of control; with --token-file and --root")
    .option("--token-file <file>", "with --control: the token that says who asks")
    .option("--root <file>", "with --control: PEM of the root to trust")
    .addOption(durationOption("--timeout <duration>", "how long a node may take to answer", 5000, "5s"))
    .option("--no-color", "no colours on a terminal either");
}

/** As Helm's `--namespace` said it at the installation. */
export function meshNamespaceOption(): Option {
  return new Option("--mesh-namespace <namespace>", "where the cluster's control plane runs")
    .env("WARREN_NAMESPACE")
    .argParser((text) => {
      if (!/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(text))
        throw new InvalidArgumentError("Write the name of a namespace.");
      return text;
    })
    .default(defaultMeshNamespace);
}

/** And how a listing is narrowed and printed. */
export function addListOptions(command: Command): Command {
  const narrowed = addMeshOptions(command)
    .option("--node <name...>", "only these nodes (default: the whole mesh)")
    .option("-n, --namespace <namespace>", "only this namespace (default: all)")
    .addOption(new Option("-o, --output <format>", "how to print").choices(listFormats).default("table"));
  return addWatchOption(narrowed);
}

export function addWatchOption(command: Command): Command {
  return command.option("-w, --watch", "go on: redraw on a terminal, one JSON document a line into a pipe");
}

/** `wrong` says what 1 is; many listings call nothing wrong. */
export function exitHelp(wrong = "it failed; nothing that is listed is called wrong"): string {
  return `
Exit status:
  0  fine
  1  ${wrong}
  2  the command line is wrong
  3  there is no mesh to ask, access was refused, or not every node answered`;
}

/** Help shows the default as people write it. */
export function durationOption(flags: string, description: string, defaultMs: number, shown: string): Option {
  return new Option(flags, description).argParser(milliseconds).default(defaultMs, shown);
}

export function milliseconds(text: string): number {
  const value = parseDuration(text);
  if (value === undefined || value < 1) throw new InvalidArgumentError("Write a duration, for example 5s.");
  return value;
}
