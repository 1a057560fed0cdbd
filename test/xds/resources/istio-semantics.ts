/** Authorization as ztunnel is documented to take it: the oracle for translations in both directions. */
import { ipBytes } from "../../../src/lib/ip.ts";
import type { AuthorizationRequest } from "../../../src/model/authorization.ts";
import { identityParts } from "../../../src/model/identity.ts";
import {
  Action,
  type Authorization,
  type Match,
  type StringMatch,
} from "../../../src/xds/gen/istio/security/authorization_pb.ts";

/** What ztunnel makes of an Authorization (its documented semantics), written apart from our encoder. */
function matches(policy: Authorization, { peer, sourceAddress, destination }: AuthorizationRequest): boolean {
  const parts = peer === "" ? undefined : identityParts(peer);
  const text = (value: string | undefined) => (one: StringMatch) => {
    if (value === undefined) return false;
    const { matchType } = one;
    switch (matchType.case) {
      case "exact":
        return value === matchType.value;
      case "prefix":
        return value.startsWith(matchType.value);
      case "suffix":
        return value.endsWith(matchType.value);
      case "presence":
      case undefined:
        return value !== "";
    }
  };
  const bits = (address: Uint8Array | readonly number[]) =>
    [...address].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  const inBlock = (address: string) => (block: { address: Uint8Array; length: number }) =>
    ipBytes(address)?.length === block.address.length &&
    bits(ipBytes(address) ?? []).slice(0, block.length) === bits(block.address).slice(0, block.length);
  const both = <T>(yes: readonly T[], no: readonly T[], test: (one: T) => boolean) =>
    (yes.length === 0 || yes.some(test)) && !no.some(test);
  const matchHolds = (match: Match) =>
    both(match.principals, match.notPrincipals, text(peer === "" ? undefined : peer.slice("spiffe://".length))) &&
    both(match.namespaces, match.notNamespaces, text(parts?.namespace)) &&
    both(
      match.serviceAccounts,
      match.notServiceAccounts,
      (one) => one.namespace === parts?.namespace && one.serviceAccount === parts.serviceAccount,
    ) &&
    both(match.sourceIps, match.notSourceIps, inBlock(sourceAddress)) &&
    both(match.destinationIps, match.notDestinationIps, inBlock(destination.address)) &&
    both(match.destinationPorts, match.notDestinationPorts, (port) => port === destination.port);
  return policy.rules.some(({ clauses }) => clauses.every((clause) => clause.matches.some(matchHolds)));
}

export function allows(policies: readonly Authorization[], request: AuthorizationRequest): boolean {
  const enforced = policies.filter(({ dryRun }) => !dryRun);
  if (enforced.some((policy) => policy.action === Action.DENY && matches(policy, request))) return false;
  const allow = enforced.filter(({ action }) => action === Action.ALLOW);
  return allow.length === 0 || allow.some((policy) => matches(policy, request));
}
