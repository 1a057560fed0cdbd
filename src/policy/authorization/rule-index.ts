/**
 * Rules of one kind, found by what they ask for: of ten thousand rules only those are evaluated that could match. Each rule is filed
 * under one of its positive fields, whichever is least crowded when it comes; rules without any are tried always.
 */
import { parseCidr } from "../../lib/ip.ts";
import type { AuthorizationRule } from "../../model/authorization.ts";
import { CidrMap } from "./cidr-map.ts";
import { type Answer, matchRule, qualifiedAccount } from "./compile-rule.ts";
import { type CompiledPolicy, mustBeSure, type PolicyRule } from "./compiled-policy.ts";
import type { Facts } from "./facts.ts";
import { parsePattern, parsePrincipal } from "./pattern.ts";
import { PatternMap } from "./pattern-map.ts";

/** The first rule (by policy name, then position) with each answer. */
export interface RuleMatch {
  readonly yes: PolicyRule | undefined;
  readonly later: PolicyRule | undefined;
}

/** Rules filed in one place, in no order. */
class Shelf {
  readonly rules: PolicyRule[] = [];

  remove(rule: PolicyRule): void {
    const at = this.rules.indexOf(rule);
    const last = this.rules.pop();
    if (at !== -1 && last !== undefined && last !== rule) this.rules[at] = last;
  }
}

/** A place on a shelf, which need not exist yet. */
interface Place {
  peek(): Shelf | undefined;
  make(): Shelf;
}

/** Where a rule could be filed: in all these places together. */
type Filing = readonly Place[];

/** The shelves, one kind per field that rules are found by. */
class Shelves {
  readonly principals = new PatternMap<Shelf>(() => new Shelf());
  readonly namespaces = new PatternMap<Shelf>(() => new Shelf());
  readonly trustDomains = new PatternMap<Shelf>(() => new Shelf());
  readonly accounts = new Map<string, Shelf>();
  readonly sources = new CidrMap<Shelf>(() => new Shelf());
  readonly ports = new Map<number, Shelf>();
  /** Rules without a positive field. */
  readonly always = new Shelf();
}

/** Emptied shelves are cleared away by filing anew, once this many rules have left. */
const clearAfter = 1000;

function isBefore(one: PolicyRule, other: PolicyRule): boolean {
  if (one.policy.key !== other.policy.key) return one.policy.key < other.policy.key;
  return one.index < other.index;
}

export class RuleIndex {
  #shelves = new Shelves();
  /** By policy, the shelves of each of its rules. */
  readonly #filed = new Map<CompiledPolicy, readonly (readonly Shelf[])[]>();
  #rules = 0;
  #left = 0;

  add(policy: CompiledPolicy): void {
    this.#file(policy);
    this.#rules += policy.rules.length;
  }

  remove(policy: CompiledPolicy): void {
    const filed = this.#filed.get(policy);
    if (filed === undefined) return;
    for (const rule of policy.rules) for (const shelf of filed[rule.index] ?? []) shelf.remove(rule);
    this.#filed.delete(policy);
    this.#rules -= policy.rules.length;
    this.#left += policy.rules.length;
    if (this.#left > clearAfter && this.#left > this.#rules) {
      this.#left = 0;
      this.#shelves = new Shelves();
      for (const kept of this.#filed.keys()) this.#file(kept);
    }
  }

  #file(policy: CompiledPolicy): void {
    const filed = policy.rules.map((rule) => {
      const shelves = this.#shelvesFor(rule.source, policy.policy.namespace);
      for (const shelf of shelves) shelf.rules.push(rule);
      return shelves;
    });
    this.#filed.set(policy, filed);
  }

  match(facts: Facts): RuleMatch {
    let yes: PolicyRule | undefined;
    let later: PolicyRule | undefined;
    this.#visit(facts, (entry) => {
      if (yes !== undefined && !isBefore(entry, yes)) return;
      const answer = matchRule(entry.compiled, facts, mustBeSure(entry.policy));
      if (answer === "yes") yes = entry;
      else if (answer === "later" && (later === undefined || isBefore(entry, later))) later = entry;
    });
    return { yes, later };
  }

  /** Every policy with its rules' best answer; policies that can't match are left out. */
  matchEach(facts: Facts, each: (policy: CompiledPolicy, answer: Exclude<Answer, "no">) => void): void {
    const answers = new Map<CompiledPolicy, Exclude<Answer, "no">>();
    this.#visit(facts, (entry) => {
      if (answers.get(entry.policy) === "yes") return;
      const answer = matchRule(entry.compiled, facts, mustBeSure(entry.policy));
      if (answer !== "no") answers.set(entry.policy, answer);
    });
    for (const [policy, answer] of answers) each(policy, answer);
  }

  #visit(facts: Facts, each: (entry: PolicyRule) => void): void {
    const { always, ports, sources, namespaces, accounts, principals, trustDomains } = this.#shelves;
    const all = (shelf: Shelf | undefined): void => {
      if (shelf !== undefined) for (const rule of shelf.rules) each(rule);
    };
    all(always);
    all(ports.get(facts.port));
    sources.visit(facts.source, all);
    if (facts.peer === undefined) return;
    namespaces.visit(facts.peer.namespace, all);
    all(accounts.get(facts.peer.serviceAccount));
    for (const { principal, trustDomain } of facts.peer.names) {
      principals.visit(principal, all);
      trustDomains.visit(trustDomain, all);
    }
  }

  #shelvesFor(rule: AuthorizationRule, namespace: string): readonly Shelf[] {
    let best: Filing | undefined;
    let crowd = Number.POSITIVE_INFINITY;
    for (const filing of this.#filings(rule, namespace)) {
      const largest = filing.reduce((most, place) => Math.max(most, place.peek()?.rules.length ?? 0), 0);
      if (largest < crowd) {
        best = filing;
        crowd = largest;
      }
    }
    // Two values of one field may stand in the same place.
    return best === undefined ? [this.#shelves.always] : [...new Set(best.map((place) => place.make()))];
  }

  /** Each way in which the rule can be found whenever it could match. */
  #filings(rule: AuthorizationRule, namespace: string): Filing[] {
    const filings: (Filing | undefined)[] = [
      // Alternatives: every one needs the field, and the rule stands under all of them.
      everyOne(rule.from, ({ principals }) => this.#principalShelves(principals)),
      everyOne(rule.from, ({ serviceAccounts }) => this.#accountShelves(serviceAccounts, namespace)),
      everyOne(rule.from, ({ ipBlocks }) => this.#sourceShelves(ipBlocks)),
      everyOne(rule.from, ({ remoteIpBlocks }) => this.#sourceShelves(remoteIpBlocks)),
      everyOne(rule.from, ({ namespaces }) => this.#namespaceShelves(namespaces)),
      everyOne(rule.to, ({ ports }) => this.#portShelves(ports)),
      everyOne(rule.from, ({ trustDomains }) => this.#trustDomainShelves(trustDomains)),
      ...rule.when.map(({ key, values }): Filing | undefined => {
        switch (key) {
          case "source.principal":
            return this.#principalShelves(values);
          case "source.serviceAccount":
            return this.#accountShelves(values, namespace);
          case "source.namespace":
            return this.#namespaceShelves(values);
          case "source.trustDomain":
            return this.#trustDomainShelves(values);
          case "source.ip":
          case "remote.ip":
            return this.#sourceShelves(values);
          case "destination.port":
            return this.#portShelves(values);
          default:
            return undefined;
        }
      }),
    ];
    return filings.filter((filing) => filing !== undefined && filing.length > 0) as Filing[];
  }

  #principalShelves(values: readonly string[]): Filing {
    return values.map((value) => placeOf(this.#shelves.principals, parsePrincipal(value)));
  }

  #namespaceShelves(values: readonly string[]): Filing {
    return values.map((value) => placeOf(this.#shelves.namespaces, parsePattern(value)));
  }

  #trustDomainShelves(values: readonly string[]): Filing {
    return values.map((value) => placeOf(this.#shelves.trustDomains, parsePattern(value)));
  }

  #accountShelves(values: readonly string[], namespace: string): Filing {
    return values.map((value) => placeIn(this.#shelves.accounts, qualifiedAccount(value, namespace)));
  }

  #portShelves(values: readonly string[]): Filing {
    return values.map((value) => placeIn(this.#shelves.ports, Number(value)));
  }

  #sourceShelves(values: readonly string[]): Filing {
    return values.flatMap((value) => {
      const cidr = parseCidr(value);
      return cidr === undefined ? [] : [placeOf(this.#shelves.sources, cidr)];
    });
  }
}

function placeIn<K>(shelves: Map<K, Shelf>, key: K): Place {
  return {
    peek: () => shelves.get(key),
    make: () => {
      let shelf = shelves.get(key);
      if (shelf === undefined) {
        shelf = new Shelf();
        shelves.set(key, shelf);
      }
      return shelf;
    },
  };
}

function placeOf<K>(shelves: { peek(key: K): Shelf | undefined; at(key: K): Shelf }, key: K): Place {
  return { peek: () => shelves.peek(key), make: () => shelves.at(key) };
}

/** The filings of all alternatives together; undefined when one of them lacks the field. */
function everyOne<T>(alternatives: readonly T[], filingOf: (alternative: T) => Filing | undefined): Filing | undefined {
  const places: Place[] = [];
  for (const alternative of alternatives) {
    const filing = filingOf(alternative);
    if (filing === undefined || filing.length === 0) return undefined;
    places.push(...filing);
  }
  return places;
}
