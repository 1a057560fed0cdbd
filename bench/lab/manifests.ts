/** The pods of a bed: clients on the first node, servers as a rule on the second, so that what they say to each other crosses the fabric. */

export const echoPort = 7000;
export const iperfPort = 5201;
/** Both answer HTTP/1.1; where a scenario has HTTP rules, they are for the second. */
export const httpPort = 7080;
export const rulesPort = 7081;
export const clientNode = "node-1";
export const serverNode = "node-2";

export interface Cast {
  /** Each its own service account, so that each is an identity. */
  readonly clients: readonly string[];
  readonly servers: readonly string[];
  /** Where the servers run. */
  readonly serversOn: string;
}

export const pair: Cast = { clients: ["client"], servers: ["server"], serversOn: serverNode };
/** Both on one node: nothing crosses the fabric. */
export const neighbours: Cast = { ...pair, serversOn: clientNode };

/** Many identities on each side. */
export function crowd(size: number): Cast {
  const names = (role: string) => Array.from({ length: size }, (_, index) => `${role}-${index + 1}`);
  return { clients: names("client"), servers: names("server"), serversOn: serverNode };
}

/** Manifests in YAML's flow style. `loadProgram` is warren_load. */
export function benchManifests({ clients, servers, serversOn }: Cast, loadProgram: string): string {
  const namespace =
    '{apiVersion: v1, kind: Namespace, metadata: {name: production, labels: {"warren.dev/mode": ambient}}}';
  const echo = `{name: echo, command: [${JSON.stringify(loadProgram)}, serve, --port=${echoPort}], ports: [{containerPort: ${echoPort}}]}`;
  const web = [httpPort, rulesPort].map(
    (port) =>
      `{name: http-${port}, command: [${JSON.stringify(loadProgram)}, serve, --port=${port}, --http=1], ports: [{containerPort: ${port}}]}`,
  );
  const iperf = `{name: iperf, command: [iperf3, --server, --port, "${iperfPort}"], ports: [{containerPort: ${iperfPort}}]}`;
  return [
    namespace,
    ...[...clients, ...servers].map(serviceAccount),
    ...clients.map((name) => pod(name, clientNode, name, [sleeper])),
    // One server for throughput is enough, and its absence elsewhere leaves the machine quieter.
    ...servers.map((name) => pod(name, serversOn, name, name === "server" ? [echo, iperf, ...web] : [echo])),
  ].join("\n---\n");
}

/** Pods that do nothing but be there. */
export function idlePods(count: number, accounts: number): string {
  return [
    ...Array.from({ length: accounts }, (_, index) => serviceAccount(`idle-${index + 1}`)),
    ...Array.from({ length: count }, (_, index) =>
      pod(`idle-${index + 1}`, clientNode, `idle-${(index % accounts) + 1}`, [sleeper]),
    ),
  ].join("\n---\n");
}

const sleeper = "{name: shell, command: [sleep, infinity]}";

function serviceAccount(name: string): string {
  return `{apiVersion: v1, kind: ServiceAccount, metadata: {name: ${name}, namespace: production}}`;
}

function pod(name: string, node: string, account: string, containers: readonly string[]): string {
  return `{apiVersion: v1, kind: Pod, metadata: {name: ${name}, namespace: production}, spec: {nodeName: ${node}, serviceAccountName: ${account}, terminationGracePeriodSeconds: 1, containers: [${containers.join(", ")}]}}`;
}
