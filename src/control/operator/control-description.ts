/** What control says of itself to operators: its version and certificates, who is connected and who is expected. */
import { getFips } from "node:crypto";
import { hostname, release } from "node:os";
import { create } from "@bufbuild/protobuf";
import { readAes } from "../../lib/machine.ts";
import { version } from "../../lib/version.ts";
import { type Control, ControlSchema } from "../../xds/gen/warren/operator/v1/operator_pb.ts";
import { wireTime } from "../../xds/wire-time.ts";
import type { ClientStatus } from "../discovery/discovery-stream.ts";
import type { Untold } from "../discovery/resource-encoder.ts";
import type { AgentRegistry } from "../inspection/agent-registry.ts";
import { type ClusterView, clusterFindings } from "./cluster-findings.ts";
import { discoveryFindings } from "./discovery-findings.ts";

export interface ControlFacts {
  /** Unix times in milliseconds. */
  readonly startedAt: number;
  readonly now: number;
  readonly trustDomain: string;
  readonly blockers: readonly string[];
  /** Ends of the authority's certificates by name, Unix times in milliseconds. */
  readonly expiry: Readonly<Record<string, number>>;
  readonly agents: AgentRegistry;
  readonly view: ClusterView;
  readonly untold: readonly Untold[];
  readonly clients: readonly ClientStatus[];
}

export function describeControl(facts: ControlFacts): Control {
  const { startedAt, now, trustDomain, blockers, expiry, agents, view, untold, clients } = facts;
  return create(ControlSchema, {
    version,
    name: hostname(),
    startedAt: wireTime(startedAt),
    now: wireTime(now),
    trustDomain,
    blockers: [...blockers],
    certificates: Object.entries(expiry).map(([name, at]) => ({ name, notAfter: wireTime(at) })),
    agents: agents.agents().map(({ node, hello, connectedAt }) => ({
      node,
      version: hello?.version ?? "",
      ...(hello?.startedAt === undefined ? {} : { startedAt: hello.startedAt }),
      connectedAt: wireTime(connectedAt),
    })),
    nodes: agents.nodes(),
    findings: [...clusterFindings(view), ...discoveryFindings(untold, clients)],
    runtime: {
      node: process.version,
      openssl: process.versions.openssl ?? "",
      fips: getFips() === 1,
      aes: readAes(),
    },
    kernel: release(),
  });
}
