/**
 * The kube-proxy stand-in: an nftables ruleset in a node's own network namespace that leads connections of un-enrolled pods, and of the
 * node's own programs, from a Service's address to one of its ready endpoints.
 */
import { endpointPairs, type ServiceTargets } from "./service-targets.ts";

const table = "inet services";

/** One transaction: the old table goes and the new one comes, connections that are open keep their translation. */
export function serviceRules(targets: readonly ServiceTargets[]): string {
  const served = targets.filter(({ endpoints }) => endpoints.length > 0);
  const unserved = targets.filter(({ endpoints }) => endpoints.length === 0);
  return [
    `table ${table}`,
    `delete table ${table}`,
    `table ${table} {`,
    ...served.map((target, number) => chain(`target-${number}`, [rewrite(target)])),
    chain("dispatch", [
      ...verdicts("ip", served, (target) => target.family === "IPv4"),
      ...verdicts("ip6", served, (target) => target.family === "IPv6"),
    ]),
    chain("unserved", [
      ...refusals(
        "ip",
        unserved.filter((target) => target.family === "IPv4"),
      ),
      ...refusals(
        "ip6",
        unserved.filter((target) => target.family === "IPv6"),
      ),
    ]),
    chain("prerouting", ["type nat hook prerouting priority dstnat", "jump dispatch"]),
    chain("output", ["type nat hook output priority -100", "jump dispatch"]),
    chain("postrouting", ["type nat hook postrouting priority srcnat", ...hairpins(served)]),
    chain("refuse-forwarded", ["type filter hook prerouting priority 0", "jump unserved"]),
    chain("refuse-own", ["type filter hook output priority 0", "jump unserved"]),
    "}",
    "",
  ].join("\n");
}

function chain(name: string, lines: readonly string[]): string {
  return [`  chain ${name} {`, ...lines.map((line) => `    ${line}`), "  }"].join("\n");
}

function rewrite({ family, protocol, endpoints }: ServiceTargets): string {
  const choices = endpoints.map(({ address, port }, number) => `${number} : ${address} . ${port}`).join(", ");
  const to = `${family === "IPv4" ? "ip" : "ip6"} to numgen random mod ${endpoints.length} map { ${choices} }`;
  return `meta l4proto ${protocol} dnat ${to}`;
}

function keyOf({ address, protocol, port }: ServiceTargets): string {
  return `${address} . ${protocol} . ${port}`;
}

function verdicts(
  header: string,
  served: readonly ServiceTargets[],
  of: (target: ServiceTargets) => boolean,
): string[] {
  const entries = served.flatMap((target, number) => (of(target) ? [`${keyOf(target)} : goto target-${number}`] : []));
  return entries.length === 0 ? [] : [`${header} daddr . meta l4proto . th dport vmap { ${entries.join(", ")} }`];
}

/** A refusal at once, as a host without a listener would give it, not a time-out. */
function refusals(header: string, unserved: readonly ServiceTargets[]): string[] {
  if (unserved.length === 0) return [];
  const addressed = `${header} daddr . meta l4proto . th dport { ${unserved.map(keyOf).join(", ")} }`;
  return [`${addressed} meta l4proto tcp reject with tcp reset`, `${addressed} reject with icmpx port-unreachable`];
}

/** A pod that reaches itself through its Service must see another source, or it would answer itself directly. */
function hairpins(served: readonly ServiceTargets[]): string[] {
  const lines: string[] = [];
  for (const [header, family] of [
    ["ip", "IPv4"],
    ["ip6", "IPv6"],
  ] as const) {
    const pairs = endpointPairs(served, family);
    if (pairs.length > 0)
      lines.push(`ct status dnat ${header} saddr . ${header} daddr { ${pairs.join(", ")} } masquerade`);
  }
  return lines;
}
