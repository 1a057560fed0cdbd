/**
 * What the control plane stands on: where the authority is kept, and how callers prove who they are. Files for meshes without
 * Kubernetes, the cluster's own API otherwise.
 */
import type { Registry } from "prom-client";
import type { Clock } from "../lib/clock.ts";
import type { NodeAuthenticator } from "./access/node-authenticator.ts";
import { NodeTokens } from "./access/node-tokens.ts";
import type { OperatorAuthenticator } from "./access/operator-authenticator.ts";
import type { AuthorityVault } from "./authority/authority-state.ts";
import { PlugInFolder } from "./authority/plug-in-folder.ts";
import type { PlugInReader } from "./authority/plug-in-source.ts";
import { StateFolder } from "./authority/state-folder.ts";

export interface ControlPlatform {
  readonly vault: AuthorityVault;
  readonly nodes: NodeAuthenticator;
  readonly operators: OperatorAuthenticator;
  /** Before the authority starts; rejects with what is wrong. */
  start(signal: AbortSignal): Promise<void>;
  /** Certificates that the platform holds for the authority, if it does; asked after `start`. */
  plugIn(): PlugInReader | undefined;
  /** Everything is in force and agents are served: what is to be told the cluster may be told. */
  serve(authority: ServedAuthority): void;
  /** Adds metrics of its own. */
  register(registry: Registry): void;
  /** For the admin port: how what it stands on is doing. No secrets. */
  describe(): object;
  /** May be called twice and after a failed start. */
  stop(): Promise<void>;
}

export interface ServedAuthority {
  /** PEM of every root that agents should trust now. */
  readonly roots: string;
  onChange(listener: () => void): () => void;
}

export interface FilePlatformDeps {
  readonly clock: Clock;
  readonly log: { info(fields: object, message: string): void; error(fields: object, message: string): void };
}

export interface FilePlatformOptions {
  readonly state: string;
  readonly nodeTokens: string;
  /** Folder of plug-in certificates. */
  readonly cacerts?: string | undefined;
}

/** A state folder, a file of tokens, and a folder of plug-in certificates. */
export class FilePlatform implements ControlPlatform {
  readonly vault: StateFolder;
  readonly nodes: NodeTokens;
  readonly #cacerts: PlugInFolder | undefined;

  constructor(deps: FilePlatformDeps, options: FilePlatformOptions) {
    const { cacerts } = options;
    this.#cacerts = cacerts === undefined ? undefined : new PlugInFolder({ clock: deps.clock }, { folder: cacerts });
    this.vault = new StateFolder({ clock: deps.clock }, { folder: options.state });
    this.nodes = new NodeTokens(deps, { path: options.nodeTokens });
  }

  get operators(): OperatorAuthenticator {
    return this.nodes;
  }

  async start(): Promise<void> {
    await this.nodes.start();
  }

  plugIn(): PlugInReader | undefined {
    return this.#cacerts;
  }

  serve(): void {}

  register(): void {}

  describe(): object {
    return { kind: "files" };
  }

  stop(): Promise<void> {
    this.nodes.stop();
    return Promise.resolve();
  }
}
