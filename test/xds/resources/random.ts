/** Random model objects from a seed: a failing run can be repeated. */

import type { AuthorizationPolicy, AuthorizationRule } from "../../../src/model/authorization.ts";
import { type MeshSettings, noAuthoritySettings } from "../../../src/model/mesh.ts";
import type { PeerAuthentication } from "../../../src/model/peer-authentication.ts";
import type { Service } from "../../../src/model/service.ts";
import type { LocalPod, Workload, WorkloadUid } from "../../../src/model/workload.ts";
import type { MemberEndpoint } from "../../../src/xds/resources/workload.ts";
import { identity } from "../../mesh/build.ts";

export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 … below. */
  below(limit: number): number {
    // mulberry32
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  }

  chance(of: number): boolean {
    return this.below(of) === 0;
  }

  one<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }

  list<T>(most: number, make: () => T): T[] {
    return Array.from({ length: this.below(most + 1) }, make);
  }

  name(): string {
    return this.one(["a", "web", "api-7d9f", "db.internal", "x1"]);
  }

  address(): string {
    return this.chance(3) ? `fd00::${1 + this.below(9)}` : `10.0.${this.below(3)}.${1 + this.below(9)}`;
  }

  port(): number {
    return 1 + this.below(65_535);
  }

  map<K, V>(most: number, key: () => K, value: () => V): ReadonlyMap<K, V> {
    return new Map(this.list(most, () => [key(), value()] as const));
  }

  labels(): ReadonlyMap<string, string> {
    return this.map(
      3,
      () => this.one(["app", "app.kubernetes.io/name", "v"]),
      () => this.one(["", "x", "y"]),
    );
  }

  workload(): Workload {
    const namespace = this.name();
    const name = this.name();
    const trustDomain = this.one(["cluster.local", "prod.example"]);
    const serviceAccount = this.name();
    const hostNetwork = this.chance(5);
    return {
      uid: `Kubernetes//Pod/${namespace}/${name}` as WorkloadUid,
      name,
      namespace,
      serviceAccount,
      trustDomain,
      identity: identity(namespace, serviceAccount, trustDomain),
      node: this.one(["", "node-1"]),
      cluster: this.one(["Kubernetes", "west"]),
      addresses: hostNetwork ? [] : [...new Set(this.list(2, () => this.address()))],
      hostNetwork,
      ...(hostNetwork && this.chance(2) ? { hostAddresses: [this.address()] } : {}),
      labels: this.labels(),
      owner: { kind: this.one(["Deployment", "Job", "CronJob", "Pod", "StatefulSet", "DaemonSet"]), name: this.name() },
      canonicalName: this.name(),
      canonicalRevision: this.one(["latest", "v2"]),
      tunnel: this.one(["hbone", "none"]),
      ready: this.chance(2),
    };
  }

  memberships(workload: Workload): ReadonlyMap<string, readonly MemberEndpoint[]> {
    return this.map(
      3,
      () => `${this.name()}/${this.name()}.svc`,
      () => {
        const [first = "10.9.9.9", ...others] = workload.addresses;
        if (this.chance(2)) {
          const ports = this.list(2, () => [this.port(), this.port()] as const);
          return [...new Map(ports)].flatMap(([port, targetPort]) =>
            [first, ...others].map((address) => ({ port, targetPort, address, weight: 1 })),
          );
        }
        const odd = (): MemberEndpoint => ({
          port: this.one([80, 443]),
          targetPort: this.port(),
          address: this.chance(2) ? first : this.address(),
          weight: 1 + this.below(3),
        });
        const unique = new Map(this.list(3, odd).map((one) => [`${one.port} ${one.address} ${one.targetPort}`, one]));
        return [...unique.values()];
      },
    );
  }

  service(): Service {
    const ports = new Map(
      this.list(3, () => this.port()).map((port) => [
        port,
        { port, name: this.one(["", "http"]), appProtocol: this.one(["", "http", "h2c", "mongo"]) },
      ]),
    );
    const [name, namespace] = [this.name(), this.name()];
    return {
      name,
      namespace,
      hostname: `${name}.${namespace}.svc.cluster.local`,
      addresses: [...new Set(this.list(2, () => this.address()))],
      ports: [...ports.values()],
    };
  }

  localPod(): LocalPod {
    const workload = this.workload();
    return {
      uid: `uid-${this.below(1000)}`,
      workload: workload.uid,
      name: workload.name,
      namespace: workload.namespace,
      serviceAccount: workload.serviceAccount,
      identity: workload.identity,
      addresses: [this.address()],
      failOpen: this.chance(2),
      probePorts: this.list(2, () => this.port()),
      ...this.one([{}, { networkPolicy: "none" } as const, { networkPolicy: "selected" } as const]),
    };
  }

  principal(): string {
    const text = `${this.one(["cluster.local", "own.example", "other.example"])}/ns/${this.name()}/sa/${this.name()}`;
    return this.one([text, text, `${text.slice(0, 12)}*`, `*${text.slice(-6)}`, "*", "clus*", `*${text.slice(4)}`]);
  }

  rule(): AuthorizationRule {
    const some = (make: () => string): string[] => (this.chance(3) ? [make(), ...this.list(1, make)] : []);
    const name = (): string => this.one([this.name(), "w*", "*i", "*"]);
    const block = (): string => this.one(["10.0.0.0/16", "10.0.1.0/24", "10.0.2.4", "fd00::/64", "fd00::3"]);
    const port = (): string => this.one(["80", "8080"]);
    const account = (): string => this.one([this.name(), `a/${this.name()}`]);
    return {
      from: this.list(2, () => ({
        principals: some(() => this.principal()),
        notPrincipals: some(() => this.principal()),
        serviceAccounts: some(account),
        notServiceAccounts: some(account),
        namespaces: some(name),
        notNamespaces: some(name),
        trustDomains: some(() => this.one(["cluster.local", "own*", "*.example", "other.example"])),
        notTrustDomains: some(() => this.one(["cluster.local", "own*", "*.example"])),
        ipBlocks: some(block),
        notIpBlocks: some(block),
        remoteIpBlocks: some(block),
        notRemoteIpBlocks: some(block),
        requestPrincipals: [],
        notRequestPrincipals: [],
      })),
      to: this.list(2, () => ({
        ports: some(port),
        notPorts: some(port),
        hosts: some(() => "web"),
        notHosts: [],
        methods: some(() => "GET"),
        notMethods: some(() => "POST"),
        paths: some(() => "/x*"),
        notPaths: [],
      })),
      when: this.list(1, () =>
        this.one([
          { key: "source.principal", values: some(() => this.principal()), notValues: some(() => this.principal()) },
          { key: "source.namespace", values: [name()], notValues: some(name) },
          { key: "destination.port", values: some(port), notValues: some(port) },
          { key: "source.ip", values: some(block), notValues: some(block) },
          { key: "destination.ip", values: some(block), notValues: [] },
          { key: "request.headers[x-a]", values: ["1"], notValues: [] },
        ]),
      ),
    };
  }

  authorizationPolicy(): AuthorizationPolicy {
    return {
      name: this.name(),
      namespace: this.name(),
      createdAt: this.below(2 ** 31),
      action: this.one(["ALLOW", "DENY", "AUDIT", "CUSTOM"]),
      dryRun: this.chance(4),
      matchLabels: this.chance(2) ? undefined : this.labels(),
      targetServices: this.list(1, () => this.name()),
      rules: this.list(2, () => this.rule()),
      problems: this.list(1, () => "spec.x: unknown field"),
    };
  }

  peerAuthentication(): PeerAuthentication {
    const mode = (): PeerAuthentication["mode"] => this.one(["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]);
    return {
      name: this.name(),
      namespace: this.name(),
      createdAt: this.below(2 ** 31),
      matchLabels: this.chance(2) ? undefined : this.labels(),
      mode: mode(),
      portModes: this.map(2, () => this.port(), mode),
    };
  }

  settings(): MeshSettings {
    return {
      trustDomain: this.one(["cluster.local", "own.example"]),
      trustDomainAliases: this.list(2, () => this.one(["old.example", "older.example"])),
      clusterDomain: this.one(["cluster.local", "west.internal"]),
      cluster: "Kubernetes",
      rootNamespace: "warren-system",
      localTraffic: this.one(["mtls", "auto"]),
      defaultAction: this.one(["allow", "deny"]),
      deniedIdentities: this.list(2, () => identity(this.name(), this.name())),
      ...noAuthoritySettings,
      issuingRoot: this.one(["", "5f0c".repeat(16)]),
    };
  }
}
