/** What a lab is made of. */
import type { SettingOverrides } from "./mesh/settings.ts";

export interface LabOptions {
  /** Found in the names of everything that the lab makes. Default: a random one. */
  readonly id?: string;
  /** Default 2. */
  readonly nodes?: number;
  /** Files and folders of manifests. */
  readonly files?: readonly string[];
  /** Texts of manifests. */
  readonly manifests?: readonly string[];
  /** False leaves agents and control plane out: a plain cluster. Default true. */
  readonly mesh?: boolean;
  readonly engine?: "typescript" | "native";
  readonly backend?: "auto" | "ebpf" | "nftables";
  readonly localTraffic?: "mtls" | "auto";
  /** Replicas of the control plane, which share the authority's state; agents find them all under one name. Default 1. */
  readonly controlReplicas?: number;
  /** False leaves the CNI plugin out: pods are captured a moment after their start. Default true. */
  readonly cni?: boolean;
  /** A command that agents are started by, such as one that takes rights away first. Default: none. */
  readonly agentLauncher?: readonly string[];
  /** Further keys of each agent's, and of the control plane's, own configuration. */
  readonly agentSettings?: SettingOverrides;
  readonly controlSettings?: SettingOverrides;
  /** Who answers for the lab: see LabOwner. Default `program`. */
  readonly owner?: "supervisor" | "program";
  /** Default `/run/warren-lab`. */
  readonly stateRoot?: string;
  /** Told, in words, of what happens in the lab. */
  readonly onEvent?: (line: string) => void;
}

/** Objects without a namespace land here. */
export const currentNamespace = "production";
