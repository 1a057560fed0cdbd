/** What agents really hold, asked over their inspection streams: the proof that a rotation's step is done, whoever was told what. */
import { X509Certificate } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { readCertificates } from "../../identity/certificate.ts";
import { MeshError } from "../../lib/errors.ts";
import { pemBlocks } from "../../lib/pem.ts";
import type { Identity } from "../../model/identity.ts";
import type { MeshView } from "../../model/mesh.ts";
import { Certificate_State, ListCertificatesSchema } from "../../xds/gen/warren/inspect/v1/inspect_pb.ts";
import type { AgentRegistry } from "../inspection/agent-registry.ts";

export interface HeldCertificate {
  readonly identity: string;
  readonly serial: string;
  /** PEM, leaf first, without the root. */
  readonly chain: string;
  /** PEM of the roots that its TLS ends trust. */
  readonly trustBundle: string;
}

export interface AgentCensus {
  /** Nodes that must do their part: those with enrolled pods now. */
  required(): string[];
  /** Certificates in force there; undefined when no agent of the node is connected to this replica. Rejects when it does not answer. */
  certificates(node: string, identity: Identity | "", signal: AbortSignal): Promise<HeldCertificate[] | undefined>;
}

export class InspectedAgents implements AgentCensus {
  readonly #agents: Pick<AgentRegistry, "agentOf">;
  readonly #view: () => MeshView;

  constructor(deps: { readonly agents: Pick<AgentRegistry, "agentOf">; readonly view: () => MeshView }) {
    this.#agents = deps.agents;
    this.#view = deps.view;
  }

  required(): string[] {
    const nodes = new Set<string>();
    for (const { node, tunnel } of this.#view().workloads()) if (node !== "" && tunnel === "hbone") nodes.add(node);
    return [...nodes];
  }

  async certificates(
    node: string,
    identity: Identity | "",
    signal: AbortSignal,
  ): Promise<HeldCertificate[] | undefined> {
    const agent = this.#agents.agentOf(node);
    if (agent === undefined) return undefined;
    const value = create(ListCertificatesSchema, { identity });
    const held: HeldCertificate[] = [];
    for await (const { kind } of agent.ask({ case: "listCertificates", value }, signal)) {
      if (kind.case === "end" && kind.value.errorCode !== "")
        throw new MeshError("MESH_AGENT_ANSWER", `${node} answers ${kind.value.errorCode}: ${kind.value.errorMessage}`);
      if (kind.case !== "certificates") continue;
      for (const { state, identity: of, serial, chain, trustBundle } of kind.value.certificates) {
        if (state === Certificate_State.READY) held.push({ identity: of, serial, chain, trustBundle });
      }
    }
    return held;
  }
}

/** What the certificate lacks of a phase; undefined when nothing. */
export function lacks(
  phase: "trust" | "issue",
  { identity, chain, trustBundle }: HeldCertificate,
  next: readonly X509Certificate[],
): string | undefined {
  if (phase === "trust") {
    const trusted = new Set(
      pemBlocks(trustBundle, "CERTIFICATE").map((pem) => new X509Certificate(pem).fingerprint256),
    );
    const missing = next.some((root) => !trusted.has(root.fingerprint256));
    return missing ? `${identity} does not trust the new root yet` : undefined;
  }
  const last = readCertificates(chain, "an agent's chain").at(-1);
  const [root] = next;
  if (last === undefined || root === undefined) return `${identity} shows no chain`;
  return last.checkIssued(root) && last.verify(root.publicKey)
    ? undefined
    : `${identity} still has a certificate of the old root`;
}
