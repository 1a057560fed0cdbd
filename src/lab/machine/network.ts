/**
 * The network of a lab as the shell scripts that its sandboxes run inside their own fresh namespaces: a fabric (a bridge that stands
 * for the data centre's network), nodes with an uplink to it and a bridge for their pods, and pods. Every link is made by the script
 * of the namespace that owns it, and its other end is put straight into the namespace where it belongs, so that nothing ever exists
 * on the host's own network.
 */
import { clusterAddresses } from "./addresses.ts";

export interface DualStack {
  readonly v4: string;
  readonly v6: string;
}

/** For kernels that would wait for duplicate address detection or listen to router advertisements: neither has a place here. */
const quietIpv6 = ["all", "default"]
  .flatMap((scope) => [
    `echo 0 > /proc/sys/net/ipv6/conf/${scope}/accept_dad`,
    `echo 0 > /proc/sys/net/ipv6/conf/${scope}/accept_ra`,
    `echo 0 > /proc/sys/net/ipv6/conf/${scope}/accept_redirects`,
    `echo 0 > /proc/sys/net/ipv4/conf/${scope}/accept_redirects`,
    // Hosts differ in what new namespaces inherit here; the kernel's own default is 0.
    `echo 0 > /proc/sys/net/ipv4/conf/${scope}/rp_filter`,
  ])
  .join("\n");

/**
 * Where br_netfilter is in the kernel, frames that cross a bridge pass the hooks of IP, too, and what is rewritten there goes on as a
 * frame, past the routing and back to the port it came from. The lab's nodes route: their bridges must be bridges and no more.
 */
const plainBridges = ["iptables", "ip6tables", "arptables"]
  .map((table) => `/proc/sys/net/bridge/bridge-nf-call-${table}`)
  .map((file) => `if [ -e ${file} ]; then echo 0 > ${file}; fi`)
  .join("\n");

function ipBatch(lines: readonly string[], netnsOf?: number): string {
  const enter = netnsOf === undefined ? "" : `nsenter --net=/proc/${netnsOf}/ns/net `;
  // The here document is expanded by the shell: $$ is the sandbox's pid.
  return `${enter}ip -batch - <<END\n${lines.join("\n")}\nEND`;
}

export function fabricScript(): string {
  return [
    quietIpv6,
    plainBridges,
    ipBatch(["link set lo up", "link add fabric type bridge mcast_snooping 0", "link set fabric up"]),
  ].join("\n");
}

/** A machine on the fabric without pods: where the control plane runs. */
export function machineScript(fabric: number, name: string, address: DualStack, nodes: readonly number[]): string {
  return [
    quietIpv6,
    uplink(fabric, name),
    ipBatch([
      "link set lo up",
      ...addressOf("eth0", address, 16, 64),
      "link set eth0 up",
      ...nodes.flatMap((node) => routeTo(node)),
    ]),
  ].join("\n");
}

export function nodeScript(
  fabric: number,
  name: string,
  index: number,
  nodes: readonly number[],
  { bpffs, tmpfs, hosts }: { readonly bpffs: string; readonly tmpfs: string; readonly hosts: string },
): string {
  const { node, gateway, gatewayMac, serviceCidrs } = clusterAddresses;
  return [
    quietIpv6,
    plainBridges,
    "echo 1 > /proc/sys/net/ipv4/ip_forward",
    "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
    // Pods of one node meet through their gateway, on one link: telling them of a shorter way would lead around service addresses.
    "echo 0 > /proc/sys/net/ipv4/conf/all/send_redirects",
    "echo 0 > /proc/sys/net/ipv4/conf/default/send_redirects",
    // Private to this node's mount namespace, as each machine has its own.
    `mount -t bpf bpf ${bpffs}`,
    `mount -t tmpfs -o mode=0755 tmpfs ${tmpfs}`,
    `mount --bind ${hosts} /etc/hosts`,
    uplink(fabric, name),
    ipBatch([
      "link set lo up",
      ...addressOf("eth0", node(index), 16, 64),
      "link set eth0 up",
      // A fixed address: a bridge otherwise takes its lowest port's, and pods' neighbour tables go stale when pods come and go.
      `link add cni0 address ${gatewayMac(index)} type bridge mcast_snooping 0`,
      ...addressOf("cni0", gateway(index), 24, 64),
      "link set cni0 up",
      ...nodes.filter((other) => other !== index).flatMap((other) => routeTo(other)),
      // Without a route the node's own programs could not even try: addresses of services are rewritten after routing.
      `route add ${serviceCidrs.v4} dev eth0`,
      `route add ${serviceCidrs.v6} dev eth0`,
    ]),
  ].join("\n");
}

/** Pods hold host routes through the node even to their neighbours, so that answers pass the node's address translation too. */
export function podScript(node: number, nodeIndex: number, link: string, address: DualStack): string {
  const gateway = clusterAddresses.gateway(nodeIndex);
  return [
    quietIpv6,
    ipBatch(
      [`link add ${link} type veth peer name eth0 netns $$`, `link set ${link} master cni0`, `link set ${link} up`],
      node,
    ),
    ipBatch([
      "link set lo up",
      ...addressOf("eth0", address, 32, 128),
      "link set eth0 up",
      `route add ${gateway.v4} dev eth0 scope link`,
      `route add default via ${gateway.v4}`,
      `route add ${gateway.v6} dev eth0`,
      `route add default via ${gateway.v6} dev eth0`,
    ]),
  ].join("\n");
}

function uplink(fabric: number, name: string): string {
  return ipBatch(
    [`link add ${name} type veth peer name eth0 netns $$`, `link set ${name} master fabric`, `link set ${name} up`],
    fabric,
  );
}

function addressOf(link: string, { v4, v6 }: DualStack, v4Bits: number, v6Bits: number): string[] {
  return [`addr add ${v4}/${v4Bits} dev ${link}`, `addr add ${v6}/${v6Bits} dev ${link} nodad`];
}

function routeTo(node: number): string[] {
  const { podCidrs, node: address } = clusterAddresses;
  return [
    `route add ${podCidrs(node).v4} via ${address(node).v4}`,
    `route add ${podCidrs(node).v6} via ${address(node).v6}`,
  ];
}
