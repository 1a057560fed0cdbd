/** Certificates of a small mesh: a root, an intermediate, and workloads as good or as wrong as a test asks. */
import { formatIdentity } from "../../../src/identity/spiffe.ts";
import type { Identity } from "../../../src/model/identity.ts";
import type { CredentialSpec } from "../../../src/tunnel/engine.ts";
import { makeCrl, makeParty, type Party, type PartyOptions } from "../../support/pki.ts";

export const trustDomain = "cluster.local";

export function identity(serviceAccount: string, domain = trustDomain): Identity {
  return formatIdentity({ trustDomain: domain, namespace: "test", serviceAccount });
}

/** What one end of a TLS connection shows and trusts. */
export interface Papers {
  readonly chain: string;
  readonly key: string;
  readonly trust: string;
  readonly serial: string;
}

export class MeshPki {
  readonly root: Party;
  readonly intermediate: Party;

  private constructor(root: Party, intermediate: Party) {
    this.root = root;
    this.intermediate = intermediate;
  }

  static async create(name = "mesh"): Promise<MeshPki> {
    const root = await makeParty({ subject: `CN=${name} root`, authority: true });
    const intermediate = await makeParty({ subject: `CN=${name} intermediate`, authority: true, pathLength: 0 }, root);
    return new MeshPki(root, intermediate);
  }

  /** A workload's papers; `wrong` overrides any part of its certificate. */
  async issue(who: Identity, wrong: PartyOptions = {}): Promise<Papers> {
    const leaf = await makeParty(
      { names: [{ type: "url", value: who }], purposes: ["client", "server"], ...wrong },
      this.intermediate,
    );
    return {
      chain: leaf.pem + this.intermediate.pem,
      key: leaf.key,
      trust: this.root.pem,
      serial: leaf.certificate.serialNumber,
    };
  }

  async credential(who: Identity, change: Partial<CredentialSpec> = {}): Promise<CredentialSpec> {
    const papers = await this.issue(who);
    return {
      identity: who,
      chain: papers.chain,
      privateKey: papers.key,
      trustBundle: papers.trust,
      trustDomains: [trustDomain],
      crl: "",
      deniedIdentities: [],
      ...change,
    };
  }

  /** A CRL of the intermediate that names these serial numbers. */
  crl(serials: readonly string[], nextUpdate?: number): Promise<string> {
    return makeCrl(this.intermediate, serials, nextUpdate);
  }
}
