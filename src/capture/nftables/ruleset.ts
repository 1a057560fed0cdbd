/**
 * The rules of one pod as nftables text. Everything is in one table and one transaction: before, between and after there is always
 * a whole ruleset in force.
 */
import type { PodListener, SocketMarks } from "../../model/sockets.ts";

export interface RulesetInput {
  /** Tells tables of different agents on one machine apart, and whose pod this is; both without quotes or backslashes. */
  readonly owner: string;
  readonly uid: string;
  /** Where the listeners are bound. */
  readonly listeners: readonly (Pick<PodListener, "role" | "family"> & { readonly port: number })[];
  readonly hbonePort: number;
  readonly marks: SocketMarks;
  /** The node's addresses and the ports that its kubelet probes. */
  readonly probes: { readonly sources: readonly string[]; readonly ports: readonly number[] };
  /** Seconds that redirection outlives the agent's last sign of life; undefined: for ever. */
  readonly failOpenAfter: number | undefined;
}

export const tableName = "inet warren";
const markMask = "0xfff";

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

function protocolOf(family: 4 | 6): "ipv4" | "ipv6" {
  return family === 4 ? "ipv4" : "ipv6";
}

function portOf(input: RulesetInput, role: PodListener["role"], family: 4 | 6): number | undefined {
  return input.listeners.find((listener) => listener.role === role && listener.family === family)?.port;
}

/**
 * A connection of a family without a listener goes to a port where nobody listens, and so is refused: a pod that has no address of
 * a family has no identity to lend to it.
 */
function redirect(input: RulesetInput, role: "outbound" | "inbound", guard: string): string[] {
  return ([4, 6] as const).map((family) => {
    const port = portOf(input, role, family) ?? 1;
    return `meta nfproto ${protocolOf(family)} ${guard}meta l4proto tcp redirect to :${port}`;
  });
}

function probeRules({ sources, ports }: RulesetInput["probes"]): string[] {
  if (ports.length === 0) {
    return [];
  }
  const byFamily = [
    { match: "ip saddr", addresses: sources.filter((address) => !address.includes(":")) },
    { match: "ip6 saddr", addresses: sources.filter((address) => address.includes(":")) },
  ];
  return byFamily
    .filter(({ addresses }) => addresses.length > 0)
    .map(({ match, addresses }) => `${match} { ${addresses.join(", ")} } tcp dport { ${ports.join(", ")} } return`);
}

function hboneRules(input: RulesetInput): string[] {
  return ([4, 6] as const).map((family) => {
    const port = portOf(input, "hbone", family);
    const verdict = port === undefined || port === input.hbonePort ? "return" : `redirect to :${port}`;
    return `meta nfproto ${protocolOf(family)} tcp dport ${input.hbonePort} ${verdict}`;
  });
}

function chain(name: string, hook: string, rules: readonly string[]): string {
  return [`  chain ${name} {`, `    type ${hook}; policy accept;`, ...rules.map((rule) => `    ${rule}`), "  }"].join(
    "\n",
  );
}

/** Elements that expire unless the agent renews them; the redirections ask for them. */
function aliveSet(seconds: number): string {
  return [
    "  set alive {",
    "    type nf_proto; flags timeout;",
    `    elements = { ipv4 timeout ${seconds}s, ipv6 timeout ${seconds}s }`,
    "  }",
  ].join("\n");
}

/**
 * The table of a pod that has none yet. Only SYNs are steered: a connection that was open before enrolment would else be taken for
 * a new one, in mid-stream, when conntrack first sees it. Priorities are numbers because nft knows the name `dstnat` for
 * prerouting only.
 */
export function ruleset(input: RulesetInput): string {
  const guard = input.failOpenAfter === undefined ? "" : "meta nfproto @alive ";
  const notNew = "tcp flags & (fin | syn | rst | ack) != syn return";
  const table = [
    `table ${tableName} {`,
    `  comment "${commentOf(input.owner, input.uid)}"`,
    ...(input.failOpenAfter === undefined ? [] : [aliveSet(input.failOpenAfter)]),
    // Deliveries bear the client's address: conntrack could take one for the client's own connection.
    chain("deliveries", "filter hook output priority -300", [
      `meta mark & ${markMask} == ${hex(input.marks.deliver)} notrack`,
    ]),
    chain("inbound", "nat hook prerouting priority -100", [
      "iif 1 return",
      "meta l4proto != tcp return",
      notNew,
      ...hboneRules(input),
      ...probeRules(input.probes),
      ...redirect(input, "inbound", guard),
    ]),
    chain("outbound", "nat hook output priority -100", [
      "meta l4proto != tcp return",
      notNew,
      "oif 1 return",
      `meta mark & ${markMask} == ${hex(input.marks.leave)} return`,
      "ip6 daddr fe80::/10 return",
      ...redirect(input, "outbound", guard),
    ]),
    "}",
  ];
  return `${table.join("\n")}\n`;
}

/** Works whether the table is there or not; followed by a ruleset it makes one transaction that replaces. */
export const removal: string = `table ${tableName}\ndelete table ${tableName}`;

/** Another `seconds` of redirection for a pod that fails open. */
export function signOfLife(seconds: number): string {
  const set = `element ${tableName} alive`;
  return [`delete ${set} { ipv4, ipv6 }`, `add ${set} { ipv4 timeout ${seconds}s, ipv6 timeout ${seconds}s }`].join(
    "\n",
  );
}

export function commentOf(owner: string, uid: string): string {
  return `warren ${owner} ${uid}`;
}

/**
 * A chain of another mesh in a listing of chains: Istio's init container and its ambient mode name theirs ISTIO_…, Linkerd's
 * PROXY_INIT_…, through iptables-nft in tables `nat` and `mangle`.
 */
export function otherMeshChain(listing: string): string | undefined {
  return /^\s*chain ((?:ISTIO|PROXY_INIT)_\w+)/m.exec(listing)?.[1];
}

/** The uid from a listing of a table, if that owner made it. */
export function uidOfListing(listing: string, owner: string): string | undefined {
  const [, foundOwner, uid] = /comment "warren (\S+) ([^"\s]+)"/.exec(listing) ?? [];
  return foundOwner === owner ? uid : undefined;
}
