/** Small builders for mesh state in tests: name what matters, get defaults for the rest. */
import { type MeshDelta, MeshIndex, type ServiceEntry } from "../../src/mesh/mesh-index.ts";
import type { AuthorizationPolicy, AuthorizationRule } from "../../src/model/authorization.ts";
import type { Identity } from "../../src/model/identity.ts";
import { type MeshSettings, noAuthoritySettings } from "../../src/model/mesh.ts";
import type { PeerAuthentication } from "../../src/model/peer-authentication.ts";
import type { ServiceEndpoint } from "../../src/model/service.ts";
import type { LocalPod, Workload, WorkloadUid } from "../../src/model/workload.ts";

export const settings: MeshSettings = {
  trustDomain: "cluster.local",
  trustDomainAliases: [],
  clusterDomain: "cluster.local",
  cluster: "c1",
  rootNamespace: "warren-system",
  localTraffic: "mtls",
  defaultAction: "allow",
  deniedIdentities: [],
  ...noAuthoritySettings,
};

export function identity(namespace: string, serviceAccount: string, trustDomain = "cluster.local"): Identity {
  return `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}` as Identity;
}

/** `labels` as an object for brevity. */
export function workload(
  name: string,
  address: string,
  overrides: Partial<Omit<Workload, "labels">> & { labels?: Record<string, string> } = {},
): Workload {
  const { labels, ...rest } = overrides;
  const namespace = rest.namespace ?? "shop";
  const serviceAccount = rest.serviceAccount ?? name;
  return {
    uid: `c1//Pod/${namespace}/${name}` as WorkloadUid,
    name,
    namespace,
    serviceAccount,
    trustDomain: "cluster.local",
    identity: identity(namespace, serviceAccount),
    node: "n1",
    cluster: "c1",
    addresses: [address],
    hostNetwork: false,
    owner: { kind: "Deployment", name },
    canonicalName: name,
    canonicalRevision: "latest",
    tunnel: "hbone",
    ready: true,
    ...rest,
    labels: new Map(Object.entries({ app: name, ...labels })),
  };
}

export function localPod(of: Workload, overrides: Partial<LocalPod> = {}): LocalPod {
  return {
    uid: `uid-${of.name}`,
    workload: of.uid,
    name: of.name,
    namespace: of.namespace,
    serviceAccount: of.serviceAccount,
    identity: of.identity,
    addresses: of.addresses,
    failOpen: false,
    probePorts: [],
    ...overrides,
  };
}

/** A Service whose every endpoint is `address:port` or a workload on a port. */
export function service(
  name: string,
  addresses: readonly string[],
  ports: Readonly<Record<number, readonly (Partial<ServiceEndpoint> & { address: string; targetPort: number })[]>>,
  members: readonly Workload[] = [],
): ServiceEntry {
  return {
    service: {
      name,
      namespace: "shop",
      hostname: `${name}.shop.svc.cluster.local`,
      addresses,
      ports: Object.keys(ports).map((port) => ({ name: `p${port}`, port: Number(port), appProtocol: "" })),
    },
    endpoints: new Map(
      Object.entries(ports).map(([port, endpoints]) => [
        Number(port),
        endpoints.map((endpoint) => ({ workload: undefined, weight: 1, ...endpoint })),
      ]),
    ),
    members: new Set(members.map(({ uid }) => uid)),
  };
}

export function peerAuthentication(overrides: Partial<PeerAuthentication> = {}): PeerAuthentication {
  return {
    name: "default",
    namespace: "shop",
    createdAt: 1,
    matchLabels: undefined,
    mode: "UNSET",
    portModes: new Map(),
    ...overrides,
  };
}

export type RuleInput = {
  readonly from?: readonly Partial<AuthorizationRule["from"][number]>[];
  readonly to?: readonly Partial<AuthorizationRule["to"][number]>[];
  readonly when?: readonly (Partial<AuthorizationRule["when"][number]> & { key: string })[];
};

export function rule({ from = [], to = [], when = [] }: RuleInput): AuthorizationRule {
  return {
    from: from.map((source) => ({
      principals: [],
      notPrincipals: [],
      serviceAccounts: [],
      notServiceAccounts: [],
      namespaces: [],
      notNamespaces: [],
      trustDomains: [],
      notTrustDomains: [],
      ipBlocks: [],
      notIpBlocks: [],
      remoteIpBlocks: [],
      notRemoteIpBlocks: [],
      requestPrincipals: [],
      notRequestPrincipals: [],
      ...source,
    })),
    to: to.map((operation) => ({
      ports: [],
      notPorts: [],
      hosts: [],
      notHosts: [],
      methods: [],
      notMethods: [],
      paths: [],
      notPaths: [],
      ...operation,
    })),
    when: when.map((condition) => ({ values: [], notValues: [], ...condition })),
  };
}

export function authorizationPolicy(
  action: AuthorizationPolicy["action"],
  rules: readonly RuleInput[],
  overrides: Partial<AuthorizationPolicy> = {},
): AuthorizationPolicy {
  return {
    name: action.toLowerCase(),
    namespace: "shop",
    createdAt: 1,
    action,
    dryRun: false,
    matchLabels: undefined,
    targetServices: [],
    rules: rules.map(rule),
    problems: [],
    ...overrides,
  };
}

export function mesh(delta: MeshDelta, overrides: Partial<MeshSettings> = {}): MeshIndex {
  const index = new MeshIndex({ ...settings, ...overrides });
  index.apply(delta);
  return index;
}
