/** The lab's control plane: one process on a machine of its own on the fabric. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { clusterAddresses } from "../machine/addresses.ts";
import type { Cgroup } from "../machine/cgroup.ts";
import { machineScript } from "../machine/network.ts";
import { Sandbox } from "../machine/sandbox.ts";
import { Daemon } from "./daemon.ts";
import type { NodeTokens } from "./node-tokens.ts";
import { warrenCommand } from "./program.ts";
import { overlay, type SettingOverrides } from "./settings.ts";

/** What the control plane's certificate is for; agents reach it by address. */
export const controlServerName = "warren-control.warren-system.svc";
export const controlPort = 15_012;
export const controlAdminPort = 15_014;

export interface ControlRequest {
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
  readonly sandbox: Sandbox;
  readonly daemon: Daemon;
  readonly cgroup: Cgroup;
  /** Where agents find the root certificate. */
  readonly rootCertificate: string;

  private constructor(sandbox: Sandbox, daemon: Daemon, cgroup: Cgroup, rootCertificate: string) {
    this.sandbox = sandbox;
    this.daemon = daemon;
    this.cgroup = cgroup;
    this.rootCertificate = rootCertificate;
  }

  static async create(request: ControlRequest, signal: AbortSignal): Promise<LabControl> {
    const cgroup = request.cgroup.child("control");
    const sandbox = await Sandbox.create(
      {
        what: "the control plane's machine",
        cgroup: cgroup.child("sandbox"),
        fresh: ["net", "mount"],
        script: machineScript(request.fabric.pid, "control", clusterAddresses.control, request.nodes),
      },
      signal,
    );
    const folder = join(request.folder, "control");
    const rootCertificate = join(request.folder, "root-certificate.pem");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const config = join(folder, "config.yaml");
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
            servingNames: [controlServerName, clusterAddresses.control.v4, clusterAddresses.control.v6],
          },
          request.settings,
        ),
      ),
    );
    const daemon = new Daemon(
      { event: request.event },
      {
        name: "control",
        place: sandbox.place(cgroup.child("control")),
        argv: [...warrenCommand(), "control", "--config", config],
        env: { PATH: process.env["PATH"] ?? "" },
        logPath: join(request.folder, "logs", "control.log"),
      },
    );
    return new LabControl(sandbox, daemon, cgroup, rootCertificate);
  }
}
