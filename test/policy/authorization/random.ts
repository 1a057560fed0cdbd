/** Random policies and requests from a small vocabulary, so that they often nearly match. Everything follows from one seed. */
import type { AuthorizationPolicy, AuthorizationRequest, HttpRequestFacts } from "../../../src/model/authorization.ts";
import { authorizationPolicy, identity, type RuleInput } from "../../mesh/build.ts";

/** mulberry32: a 32-bit generator, good enough to choose test cases and the same everywhere. */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const trustDomains = ["corp.example", "old.example", "cluster.local", "foreign.example"];
const namespaces = ["shop", "prod", "prod-eu", "warren-system"];
const accounts = ["web", "api", "frontend"];
const ports = ["80", "8080", "9090"];
const addresses = ["10.0.0.1", "10.0.1.1", "10.1.0.1", "192.0.2.1", "fd00::1", "fd00:1::1"];
const blocks = [
  "10.0.0.0/16",
  "10.0.0.0/8",
  "10.0.0.1",
  "10.0.1.1/31",
  "0.0.0.0/0",
  "fd00::/16",
  "fd00:1::/32",
  "::/0",
  "192.0.2.0/25",
];
const methods = ["GET", "POST", "PUT", "GE*", "*T", "*"];
const paths = ["/api/v1", "/api/*", "*/v1", "/", "*", "/{*}/v1", "/api/{**}", "/{*}/{**}"];
const hosts = ["api.example", "*.example", "api.*", "API.Example", "api.example:8080", "*"];
const headers = ["admin", "user", "ad*", "*er", "*"];

export class Random {
  readonly #next: () => number;

  constructor(seed: number) {
    this.#next = generator(seed);
  }

  chance(probability: number): boolean {
    return this.#next() < probability;
  }

  pick<T>(list: readonly T[]): T {
    const chosen = list[Math.floor(this.#next() * list.length)];
    if (chosen === undefined) throw new Error("nothing to pick from");
    return chosen;
  }

  some<T>(list: readonly T[], most = 2): T[] {
    return Array.from({ length: 1 + Math.floor(this.#next() * most) }, () => this.pick(list));
  }

  principal(): string {
    const [td, ns, sa] = [this.pick(trustDomains), this.pick(namespaces), this.pick(accounts)];
    return this.pick([
      `${td}/ns/${ns}/sa/${sa}`,
      `${td}/ns/${ns}/sa/${sa}`,
      `spiffe://${td}/ns/${ns}/sa/${sa}`,
      `${td}/ns/${ns.slice(0, 4)}*`,
      `${td.slice(0, 3)}*`,
      `*/ns/${ns}/sa/${sa}`,
      `*/sa/${sa}`,
      "*",
    ]);
  }

  #maybe<K extends string>(
    probability: number,
    key: K,
    values: () => readonly string[],
  ): { [P in K]?: readonly string[] } {
    return (this.chance(probability) ? { [key]: values() } : {}) as { [P in K]?: readonly string[] };
  }

  rule(): RuleInput {
    const account = (): string => this.pick([this.pick(accounts), `${this.pick(namespaces)}/${this.pick(accounts)}`]);
    const space = (): string => this.pick([this.pick(namespaces), "prod*", "*op", "*"]);
    const domain = (): string => this.pick([this.pick(trustDomains), "*.example", "corp*", "*"]);
    const from = (): NonNullable<RuleInput["from"]>[number] => ({
      ...this.#maybe(0.35, "principals", () => this.some([this.principal(), this.principal()])),
      ...this.#maybe(0.15, "notPrincipals", () => this.some([this.principal(), this.principal()])),
      ...this.#maybe(0.1, "serviceAccounts", () => [account()]),
      ...this.#maybe(0.08, "notServiceAccounts", () => [account()]),
      ...this.#maybe(0.2, "namespaces", () => [space()]),
      ...this.#maybe(0.1, "notNamespaces", () => [space()]),
      ...this.#maybe(0.1, "trustDomains", () => [domain()]),
      ...this.#maybe(0.06, "notTrustDomains", () => [domain()]),
      ...this.#maybe(0.2, "ipBlocks", () => this.some(blocks)),
      ...this.#maybe(0.12, "notIpBlocks", () => this.some(blocks)),
      ...this.#maybe(0.05, "remoteIpBlocks", () => this.some(blocks)),
      ...this.#maybe(0.05, "notRemoteIpBlocks", () => this.some(blocks)),
    });
    const to = (): NonNullable<RuleInput["to"]>[number] => ({
      ...this.#maybe(0.4, "ports", () => this.some(ports)),
      ...this.#maybe(0.12, "notPorts", () => this.some(ports)),
      ...this.#maybe(0.2, "methods", () => this.some(methods)),
      ...this.#maybe(0.08, "notMethods", () => this.some(methods)),
      ...this.#maybe(0.15, "paths", () => this.some(paths)),
      ...this.#maybe(0.08, "notPaths", () => this.some(paths)),
      ...this.#maybe(0.1, "hosts", () => this.some(hosts)),
      ...this.#maybe(0.06, "notHosts", () => this.some(hosts)),
    });
    const when = (): NonNullable<RuleInput["when"]>[number] => {
      const [key, value] = this.pick<readonly [string, () => string]>([
        ["source.ip", () => this.pick(blocks)],
        ["remote.ip", () => this.pick(blocks)],
        ["destination.ip", () => this.pick(blocks)],
        ["destination.port", () => this.pick(ports)],
        ["source.principal", () => this.principal()],
        ["source.namespace", space],
        ["source.serviceAccount", account],
        ["source.trustDomain", domain],
        ["request.headers[X-Role]", () => this.pick(headers)],
      ]);
      const values = {
        ...this.#maybe(0.7, "values", () => [value(), value()]),
        ...this.#maybe(0.3, "notValues", () => [value()]),
      };
      return { key, ...(Object.keys(values).length === 0 ? { values: [value()] } : values) };
    };
    return {
      ...(this.chance(0.6) ? { from: this.some([from(), from()]) } : {}),
      ...(this.chance(0.5) ? { to: this.some([to(), to()]) } : {}),
      ...(this.chance(0.25) ? { when: this.some([when(), when()]) } : {}),
    };
  }

  policy(name: string): AuthorizationPolicy {
    const action = this.pick(["ALLOW", "ALLOW", "ALLOW", "DENY", "DENY", "AUDIT"] as const);
    const rules = Array.from({ length: Math.floor(this.#next() * 4) }, () => this.rule());
    const select = this.#next();
    const labels = new Map([
      this.pick([
        ["app", "api"],
        ["app", "web"],
        ["tier", "gold"],
      ] as const),
    ]);
    if (this.chance(0.3)) labels.set("app", "api");
    return authorizationPolicy(action, rules, {
      name,
      namespace: this.pick(["shop", "shop", "shop", "warren-system", "prod"]),
      dryRun: this.chance(0.08),
      ...(select < 0.3 ? { matchLabels: labels } : {}),
      ...(select > 0.9 ? { targetServices: [this.pick(["api", "db"])] } : {}),
      ...(select > 0.86 && select <= 0.9 ? { attached: true } : {}),
      ...(this.chance(0.015) ? { problems: ["spec: not understood"] } : {}),
    });
  }

  request(): AuthorizationRequest & { readonly http: HttpRequestFacts } {
    const [td, ns, sa] = [this.pick(trustDomains), this.pick(namespaces), this.pick(accounts)];
    const role = this.pick([[], ["admin"], ["user"], ["admin", "user"], [""], ["user", "user"]]);
    return {
      peer: this.chance(0.2) ? "" : identity(ns, sa, td),
      sourceAddress: this.pick(addresses),
      destination: { address: this.pick(addresses), port: Number(this.pick(ports)) },
      http: {
        method: this.pick(["GET", "POST", "PUT", "DELETE"]),
        host: this.pick(["api.example", "api.example:8080", "other.example", "api.example.", "10.0.0.1"]),
        path: this.pick(["/", "/api/v1", "/api/v1/x", "/api", "/other/v1"]),
        header: (name) => (name === "x-role" ? role : []),
      },
    };
  }
}
