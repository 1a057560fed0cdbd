/**
 * The kinds of change that `enforcement.ts` measures. Each forbids one client of the cast what it has open, and nobody else anything;
 * what undoes it lets that client in again.
 */
import type { AuthorizationPolicy } from "../../src/model/authorization.ts";
import type { Identity } from "../../src/model/identity.ts";
import type { MeshSettings } from "../../src/model/mesh.ts";
import type { Workload } from "../../src/model/workload.ts";
import {
  encodeAuthorizationPolicy,
  encodePeerAuthentication,
  policyResourceName,
} from "../../src/xds/resources/policy.ts";
import { encodeSettings } from "../../src/xds/resources/settings.ts";
import { encodeWorkload } from "../../src/xds/resources/workload.ts";
import { authorizationPolicy, peerAuthentication, settings } from "../../test/mesh/build.ts";
import type { Arrival } from "./enforcement-agent.ts";

/** A client as changes know it. */
export interface Victim {
  readonly name: string;
  readonly identity: Identity;
}

export interface Change {
  readonly victim: string;
  readonly forbid: Arrival;
  readonly permit: Arrival;
}

export interface ChangeKind {
  readonly name: string;
  /** The `index`th change of this kind. */
  at(index: number): Change;
}

export interface Stage {
  /** Callers of `server` through tunnels. */
  readonly clients: readonly Victim[];
  readonly server: Workload;
  /** Calls `server` in plaintext. */
  readonly outsider: string;
  /** Calls a server that no ALLOW policy selects. */
  readonly unlisted: string;
  /** With the client's certificate on it. */
  revocationList(client: Victim): string;
}

const app = new Map([["app", "server"]]);

function principal({ name }: Victim): string {
  return `cluster.local/ns/shop/sa/${name}`;
}

function denying(name: string, victims: readonly Victim[], matchLabels = app): AuthorizationPolicy {
  return authorizationPolicy("DENY", [{ from: [{ principals: victims.map(principal) }] }], { name, matchLabels });
}

function quarantine({ name }: Victim): Map<string, string> {
  return new Map([["quarantine", name]]);
}

/** In force before the first change: what changes rest on, and policies that are about others. */
export function standingPolicies({ clients }: Stage, bystanders: number): Arrival {
  const nobody: Victim = { name: "nobody", identity: "spiffe://cluster.local/ns/shop/sa/nobody" as Identity };
  const policies = [
    authorizationPolicy("ALLOW", [{}], { name: "everybody", matchLabels: app }),
    denying("changing", [nobody]),
    ...clients.map((client) => denying(`quarantine-${client.name}`, [client], quarantine(client))),
    ...Array.from({ length: bystanders }, (_, index) => ({
      ...denying("deny", [nobody], new Map([["app", `other-${index}`]])),
      namespace: `namespace-${index}`,
    })),
  ];
  return { type: "policy", set: policies.map(encodeAuthorizationPolicy) };
}

function settingsChange(change: Partial<MeshSettings>): Arrival {
  return { type: "settings", set: [encodeSettings({ ...settings, ...change })] };
}

export function changeKinds(stage: Stage): readonly ChangeKind[] {
  const { clients, server, outsider, unlisted } = stage;
  const victimAt = (index: number): Victim => {
    const victim = clients[index % clients.length];
    if (victim === undefined) throw new Error("there are no clients");
    return victim;
  };
  const policy = (...policies: readonly AuthorizationPolicy[]): Arrival => ({
    type: "policy",
    set: policies.map(encodeAuthorizationPolicy),
  });
  const relabelled = (labels: ReadonlyMap<string, string>): Arrival => ({
    type: "address",
    set: [encodeWorkload({ ...server, labels: new Map([...server.labels, ...labels]) }, new Map(), [])],
  });
  const mode = peerAuthentication({ name: "shop-wide" });
  return [
    {
      name: "policy-changed",
      at: (index) => {
        const victim = victimAt(index);
        const others = clients
          .filter((client) => client !== victim)
          .map(({ name, identity }) => ({ name: `${name}-old`, identity }));
        return {
          victim: victim.name,
          forbid: policy(denying("changing", [...others, victim])),
          permit: policy(denying("changing", others)),
        };
      },
    },
    {
      name: "policy-attached",
      at: (index) => {
        const victim = victimAt(index);
        const attached = denying("attached", [victim]);
        return {
          victim: victim.name,
          forbid: policy(attached),
          permit: { type: "policy", removed: [policyResourceName("AuthorizationPolicy", attached)] },
        };
      },
    },
    {
      name: "pod-label",
      at: (index) => {
        const victim = victimAt(index);
        return { victim: victim.name, forbid: relabelled(quarantine(victim)), permit: relabelled(new Map()) };
      },
    },
    {
      name: "identity-denied",
      at: (index) => {
        const { name, identity } = victimAt(index);
        return { victim: name, forbid: settingsChange({ deniedIdentities: [identity] }), permit: settingsChange({}) };
      },
    },
    {
      name: "certificate-revoked",
      at: (index) => {
        const victim = victimAt(index);
        const forbid = settingsChange({ crl: stage.revocationList(victim) });
        return { victim: victim.name, forbid, permit: settingsChange({}) };
      },
    },
    {
      name: "strict",
      at: () => ({
        victim: outsider,
        forbid: { type: "policy", set: [encodePeerAuthentication({ ...mode, mode: "STRICT" })] },
        permit: { type: "policy", set: [encodePeerAuthentication(mode)] },
      }),
    },
    {
      name: "default-deny",
      at: () => ({
        victim: unlisted,
        forbid: settingsChange({ defaultAction: "deny" }),
        permit: settingsChange({}),
      }),
    },
  ];
}
