/** The lab's address plan. Every lab has the same one: each lives in network namespaces of its own. */

const pad = (value: number) => value.toString(16).padStart(2, "0");

export const clusterAddresses = {
  /** Nodes, and the machines of the control plane's replicas (from 1), on the fabric. */
  control: (replica: number) => ({ v4: `172.18.0.${1 + replica}`, v6: `fd00:172:18::${(1 + replica).toString(16)}` }),
  maximumReplicas: 9,
  node: (index: number) => ({ v4: `172.18.1.${index}`, v6: `fd00:172:18::1:${index.toString(16)}` }),
  podCidrs: (node: number) => ({ v4: `10.244.${node}.0/24`, v6: `fd00:10:244:${node.toString(16)}::/64` }),
  gateway: (node: number) => ({ v4: `10.244.${node}.1`, v6: `fd00:10:244:${node.toString(16)}::1` }),
  /** Locally administered. */
  gatewayMac: (node: number) => `02:42:0a:f4:${pad(node)}:01`,
  pod: (node: number, host: number) => ({
    v4: `10.244.${node}.${host}`,
    v6: `fd00:10:244:${node.toString(16)}::${host.toString(16)}`,
  }),
  /** Host numbers of pods within their node's range. */
  firstPod: 2,
  lastPod: 254,
  serviceCidrs: { v4: "10.96.0.0/16", v6: "fd00:10:96::/112" },
  service: (number: number) => ({
    v4: `10.96.${number >> 8}.${number & 255}`,
    v6: `fd00:10:96::${number.toString(16)}`,
  }),
  firstService: 10,
  lastService: 65_534,
  maximumNodes: 250,
} as const;
