/** The lab's control plane: one process on a machine of its own on the fabric. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { clusterAddresses } from "../machine/addresses.ts";
import type { Cgroup } from "../machine/cgroup.ts";
import { type DualStack, machineScript } from "../machine/network.ts";
import { Sandbox } from "../machine/sandbox.ts";
import { operatorSocket, rootCertificateFile } from "../operator-door.ts";
import { Daemon } from "./daemon.ts";
import type { NodeTokens } from "./node-tokens.ts";
import { warrenCommand } from "./program.ts";
import { overlay, type SettingOverrides } from "./settings.ts";

/** The name that agents dial: all replicas at once, as a headless Service's name means all its pods. */
export const controlServerName = "warren-control.warren-system.svc";
export const controlPort = 15_012;
export const controlAdminPort = 15_014;

/** The hosts file of a node: there is no DNS that would know the control plane. */
export function nodeHosts(replicas: number): string {
  const lines = ["127.0.0.1 localhost", "::1 localhost"];
  for (let replica = 1; replica <= replicas; replica++) {
    const { v4, v6 } = clusterAddresses.control(replica);
    lines.push(`${v4} ${controlServerName}`, `${v6} ${controlServerName}`);
  }
  return `${lines.join("\n")}\n`;
}

export interface ControlRequest {
  /** From 1. */
  readonly replica: number;
  readonly fabric: Sandbox;
  readonly nodes: readonly number[];
  readonly cgroup: Cgroup;
  readonly folder: string;
  readonly manifests: string;
  readonly tokens: NodeTokens;
  readonly settings: SettingOverrides;
  readonly event: (line: string) => void;
}

export class LabControl {
  readonly address: DualStack;
  readonly sandbox: Sandbox;
  readonly daemon: Daemon;
  readonly cgroup: Cgroup;
  /** Where agents find the root certificate. */
  readonly rootCertificate: string;

  private constructor(address: DualStack, sandbox: Sandbox, daemon: Daemon, cgroup: Cgroup, rootCertificate: string) {
    this.address = address;
    this.sandbox = sandbox;
    this.daemon = daemon;
    this.cgroup = cgroup;
    this.rootCertificate = rootCertificate;
  }

  static async create(request: ControlRequest, signal: AbortSignal): Promise<LabControl> {
    const { replica } = request;
    const name = replica === 1 ? "control" : `control-${replica}`;
    const address = clusterAddresses.control(replica);
    const cgroup = request.cgroup.child(name);
    const sandbox = await Sandbox.create(
      {
        what: `the machine of ${name}`,
        cgroup: cgroup.child("sandbox"),
        fresh: ["net", "mount"],
        script: machineScript(request.fabric.pid, name, address, request.nodes),
      },
      signal,
    );
    const folder = join(request.folder, "control");
    const rootCertificate = rootCertificateFile(request.folder);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const config = join(folder, `${name}.yaml`);
    writeFileSync(
      config,
      stringify(
        overlay(
          {
            manifests: request.manifests,
            state: join(folder, "authority"),
            listen: `:${controlPort}`,
            admin: `:${controlAdminPort}`,
            publishRoot: rootCertificate,
            nodeTokens: request.tokens.hashesPath,
            operatorSocket: operatorSocket(request.folder, replica),
            servingNames: [controlServerName, address.v4, address.v6],
          },
          request.settings,
        ),
      ),
    );
    const daemon = new Daemon(
      { event: request.event },
      {
        name,
        place: sandbox.place(cgroup.child("control")),
        argv: [...warrenCommand(), "control", "--config", config],
        env: { PATH: process.env["PATH"] ?? "" },
        logPath: join(request.folder, "logs", `${name}.log`),
      },
    );
    return new LabControl(address, sandbox, daemon, cgroup, rootCertificate);
  }
}
