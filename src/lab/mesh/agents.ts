/** The agents of the lab: one process per node, in the node's network and mounts and in a cgroup of its own outside the pods'. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import type { Cgroup } from "../machine/cgroup.ts";
import type { LabNode } from "../node.ts";
import { controlPort, controlServerName } from "./control.ts";
import { Daemon } from "./daemon.ts";
import type { NodeTokens } from "./node-tokens.ts";
import { warrenCommand } from "./program.ts";
import { overlay, type SettingOverrides } from "./settings.ts";

export const adminPort = 15_000;
export const metricsPort = 15_020;
export const readinessPort = 15_021;

/** On a cluster each agent has a network of its own; here two that overlap share their node's, on other ports and in other cgroups. */
export type AgentSlot = 0 | 1;

export interface AgentPorts {
  readonly admin: number;
  readonly metrics: number;
  readonly readiness: number;
}

export function agentPorts(slot: AgentSlot): AgentPorts {
  const offset = slot * 100;
  return { admin: adminPort + offset, metrics: metricsPort + offset, readiness: readinessPort + offset };
}

export interface AgentRequest {
  readonly slot: AgentSlot;
  readonly node: LabNode;
  readonly folder: string;
  readonly rootCertificate: string;
  readonly tokens: NodeTokens;
  readonly engine: "typescript" | "native" | undefined;
  readonly backend: "auto" | "ebpf" | "nftables" | undefined;
  /** Whether the agent installs the CNI plugin. */
  readonly cni: boolean;
  readonly settings: SettingOverrides;
  readonly launcher: readonly string[];
  readonly event: (line: string) => void;
}

/** The configuration file of a node's agent. */
export function agentConfig(request: AgentRequest): Record<string, unknown> {
  const { node, tokens, engine, backend, slot } = request;
  const ports = agentPorts(slot);
  return overlay(
    {
      node: node.name,
      ...(slot === 0
        ? {}
        : { admin: `127.0.0.1:${ports.admin}`, metrics: `:${ports.metrics}`, readiness: `:${ports.readiness}` }),
      discovery: { stateFile: join(node.tmpfs, "last-good-state") },
      control: {
        address: `${controlServerName}:${controlPort}`,
        rootCertificate: request.rootCertificate,
        tokenFile: tokens.tokenPath(node.name),
      },
      capture: {
        pinDirectory: join(node.bpffs, "warren"),
        podsCgroup: node.kubepods.path,
        kubeletCgroup: node.kubeletCgroup.path,
        agentCgroup: agentCgroup(node, slot).path,
        criSocket: node.paths.criSocket,
        ...(backend === undefined ? {} : { backend }),
      },
      ...(request.cni
        ? { cni: { socket: node.paths.cniSocket, binDir: node.paths.cniBinDir, confDir: node.paths.cniConfDir } }
        : {}),
      ...(engine === undefined ? {} : { engine }),
    },
    request.settings,
  );
}

function agentCgroup(node: LabNode, slot: AgentSlot): Cgroup {
  return slot === 0 ? node.agentCgroup : node.cgroup.child("agent-surge").create();
}

export function makeAgent(request: AgentRequest): Daemon {
  const { node, folder, slot } = request;
  const config = join(folder, "nodes", node.name, slot === 0 ? "agent.yaml" : "agent-surge.yaml");
  mkdirSync(join(folder, "nodes", node.name), { recursive: true });
  writeFileSync(config, stringify(agentConfig(request)));
  return new Daemon(
    { event: request.event },
    {
      name: `agent/${node.name}`,
      place: node.sandbox.place(agentCgroup(node, slot)),
      argv: [...request.launcher, ...warrenCommand(), "node", "--config", config],
      env: { PATH: process.env["PATH"] ?? "" },
      logPath: join(folder, "logs", `agent-${node.name}.log`),
    },
  );
}
