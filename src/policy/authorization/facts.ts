/** A connection or request, prepared once for all the questions that rules ask about it. */
import { ipBytes } from "../../lib/ip.ts";
import type { AuthorizationRequest, HttpRequestFacts } from "../../model/authorization.ts";
import { identityParts } from "../../model/identity.ts";
import type { MeshSettings } from "../../model/mesh.ts";

/** How policies may name the peer: once per trust domain that counts as its own. */
export interface PeerName {
  readonly trustDomain: string;
  /** `td/ns/x/sa/y`. */
  readonly principal: string;
}

export interface PeerFacts {
  readonly names: readonly PeerName[];
  readonly namespace: string;
  /** `namespace/account`. */
  readonly serviceAccount: string;
}

export interface Facts {
  /** Undefined for plaintext: nobody proved to be anybody. */
  readonly peer: PeerFacts | undefined;
  readonly source: readonly number[];
  readonly destination: readonly number[];
  readonly port: number;
  /** Undefined while only the connection is known. */
  readonly http: HttpRequestFacts | undefined;
}

/** What policies call the local trust domain, whatever its name (Istio's convention). */
const localTrustDomain = "cluster.local";

/** Undefined when an address is none: nothing can then be decided. */
export function factsOf(request: AuthorizationRequest, settings: MeshSettings): Facts | undefined {
  const source = ipBytes(request.sourceAddress);
  const destination = ipBytes(request.destination.address);
  if (source === undefined || destination === undefined) return undefined;
  return {
    peer: request.peer === "" ? undefined : peerFacts(identityParts(request.peer), settings),
    source,
    destination,
    port: request.destination.port,
    http: request.http,
  };
}

function peerFacts(parts: ReturnType<typeof identityParts>, settings: MeshSettings): PeerFacts {
  const { trustDomain, namespace, serviceAccount } = parts;
  const own = new Set([settings.trustDomain, ...settings.trustDomainAliases]);
  const names = own.has(trustDomain) ? own.add(localTrustDomain) : new Set([trustDomain]);
  return {
    names: [...names].map((name) => ({
      trustDomain: name,
      principal: `${name}/ns/${namespace}/sa/${serviceAccount}`,
    })),
    namespace,
    serviceAccount: `${namespace}/${serviceAccount}`,
  };
}
