/**
 * Policy objects whole: `warren.policy.v1.Policy`, named `kind/namespace/name`. A policy that cannot be decoded must not be a policy
 * that is not there: `closedPolicy` is what stands for it where no good version was heard of.
 */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { AuthorizationAction, AuthorizationPolicy } from "../../model/authorization.ts";
import type { PeerAuthentication, PeerAuthenticationMode } from "../../model/peer-authentication.ts";
import {
  Action,
  type Policy,
  PolicySchema,
  RuleSchema,
  type AuthorizationPolicy as WireAuthorization,
  PeerAuthenticationMode as WireMode,
} from "../gen/warren/policy/v1/policy_pb.ts";
import { wireTime } from "../wire-time.ts";
import { checkedName, checkedPort } from "./checked.ts";
import { InvalidResource, type NamedResource } from "./resource-types.ts";

export type DecodedPolicy =
  | { readonly kind: "AuthorizationPolicy"; readonly policy: AuthorizationPolicy }
  | { readonly kind: "PeerAuthentication"; readonly policy: PeerAuthentication };

export type PolicyKind = DecodedPolicy["kind"];

const actions: ReadonlyMap<AuthorizationAction, Action> = new Map([
  ["ALLOW", Action.ALLOW],
  ["DENY", Action.DENY],
  ["AUDIT", Action.AUDIT],
  ["CUSTOM", Action.CUSTOM],
]);
const modes: ReadonlyMap<PeerAuthenticationMode, WireMode> = new Map([
  ["UNSET", WireMode.UNSPECIFIED],
  ["DISABLE", WireMode.DISABLE],
  ["PERMISSIVE", WireMode.PERMISSIVE],
  ["STRICT", WireMode.STRICT],
]);

/** `kind/namespace/name`. */
export function policyResourceName(
  kind: PolicyKind,
  policy: { readonly namespace: string; readonly name: string },
): string {
  return `${kind}/${policy.namespace}/${policy.name}`;
}

export function parsePolicyName(
  text: string,
): { readonly kind: PolicyKind; readonly namespace: string; readonly name: string } | undefined {
  const [kind, namespace, name, ...rest] = text.split("/");
  if (kind !== "AuthorizationPolicy" && kind !== "PeerAuthentication") return undefined;
  return namespace && name && rest.length === 0 ? { kind, namespace, name } : undefined;
}

export function encodeAuthorizationPolicy(policy: AuthorizationPolicy): NamedResource {
  const message = create(PolicySchema, {
    ...common(policy),
    problems: [...policy.problems],
    spec: {
      case: "authorization",
      value: {
        $typeName: "warren.policy.v1.AuthorizationPolicy",
        action: actions.get(policy.action) ?? Action.UNSPECIFIED,
        dryRun: policy.dryRun,
        targetServices: [...policy.targetServices],
        rules: policy.rules.map(({ from, to, when }) =>
          create(RuleSchema, {
            from: from.map(copied),
            to: to.map(copied),
            when: when.map(({ key, values, notValues }) => ({ key, values: [...values], notValues: [...notValues] })),
          }),
        ),
      },
    },
  });
  return resource("AuthorizationPolicy", message);
}

export function encodePeerAuthentication(policy: PeerAuthentication): NamedResource {
  const message = create(PolicySchema, {
    ...common(policy),
    spec: {
      case: "peerAuthentication",
      value: {
        $typeName: "warren.policy.v1.PeerAuthentication",
        mode: modes.get(policy.mode) ?? WireMode.STRICT,
        portModes: Object.fromEntries(
          [...policy.portModes].map(([port, mode]) => [port, modes.get(mode) ?? WireMode.STRICT]),
        ),
      },
    },
  });
  return resource("PeerAuthentication", message);
}

export function decodePolicy(resourceName: string, bytes: Uint8Array): DecodedPolicy {
  const message = fromBinary(PolicySchema, bytes);
  const base = {
    name: checkedName(message.name, "name"),
    namespace: checkedName(message.namespace, "namespace"),
    createdAt: message.createdAt === undefined ? 0 : timestampMs(message.createdAt),
    matchLabels: message.selector && new Map(Object.entries(message.selector.matchLabels)),
  };
  const decoded = decodeSpec(base, message);
  const own = policyResourceName(decoded.kind, decoded.policy);
  if (own !== resourceName) {
    throw new InvalidResource(`is named ${JSON.stringify(resourceName)} and says that it is ${own}`);
  }
  return decoded;
}

type Base = Pick<AuthorizationPolicy, "name" | "namespace" | "createdAt" | "matchLabels">;

function decodeSpec(base: Base, { spec, problems }: Policy): DecodedPolicy {
  switch (spec.case) {
    case "authorization":
      return { kind: "AuthorizationPolicy", policy: decodeAuthorization(base, spec.value, problems) };
    case "peerAuthentication": {
      const { mode, portModes } = spec.value;
      const ports = Object.entries(portModes).map(([port, value]): [number, PeerAuthenticationMode] => [
        checkedPort(Number(port), "port_modes"),
        decodeMode(value),
      ]);
      const policy = { ...base, mode: decodeMode(mode), portModes: new Map(ports) };
      return { kind: "PeerAuthentication", policy };
    }
    case undefined:
      throw new InvalidResource("says nothing that is known here: it comes from a newer control plane");
  }
}

function decodeAuthorization(base: Base, message: WireAuthorization, problems: readonly string[]): AuthorizationPolicy {
  const action = [...actions].find(([, wire]) => wire === message.action)?.[0];
  return {
    ...base,
    // An action that is not understood refuses: a policy with problems is never passed by.
    action: action ?? "DENY",
    dryRun: message.dryRun,
    targetServices: message.targetServices,
    rules: message.rules.map(({ from, to, when }) => ({
      from: from.map(withoutType),
      to: to.map(withoutType),
      when: when.map(withoutType),
    })),
    problems: action === undefined ? [...problems, `action ${message.action} is unknown to this agent`] : problems,
  };
}

function decodeMode(mode: WireMode): PeerAuthenticationMode {
  // What is not understood is taken as the strictest.
  return [...modes].find(([, wire]) => wire === mode)?.[0] ?? "STRICT";
}

/** What stands for a policy that could not be read and has no last good version: it refuses in its whole namespace. */
export function closedPolicy(resourceName: string, problem: string): DecodedPolicy | undefined {
  const parsed = parsePolicyName(resourceName);
  if (parsed === undefined) return undefined;
  const { kind, namespace, name } = parsed;
  const base = { name, namespace, createdAt: 0, matchLabels: undefined };
  if (kind === "PeerAuthentication") return { kind, policy: { ...base, mode: "STRICT", portModes: new Map() } };
  return {
    kind,
    policy: { ...base, action: "DENY", dryRun: false, targetServices: [], rules: [], problems: [problem] },
  };
}

function common({ name, namespace, createdAt, matchLabels }: Base) {
  return {
    name,
    namespace,
    createdAt: wireTime(createdAt),
    ...(matchLabels === undefined
      ? {}
      : {
          selector: {
            matchLabels: Object.fromEntries([...matchLabels].sort(([one], [other]) => (one < other ? -1 : 1))),
          },
        }),
  };
}

function resource(kind: PolicyKind, message: Policy): NamedResource {
  return { name: policyResourceName(kind, message), aliases: [], bytes: toBinary(PolicySchema, message) };
}

/** The same lists, as the generated types want them: mutable. */
function copied<T extends Readonly<Record<keyof T, readonly string[]>>>(lists: T): { [K in keyof T]: string[] } {
  return Object.fromEntries(Object.entries(lists).map(([key, list]) => [key, [...(list as readonly string[])]])) as {
    [K in keyof T]: string[];
  };
}

function withoutType<T extends { $typeName: string; $unknown?: unknown }>(
  message: T,
): Omit<T, "$typeName" | "$unknown"> {
  const { $typeName: _type, $unknown: unknown, ...fields } = message;
  if (unknown !== undefined) throw new InvalidResource("has fields that this agent does not know");
  return fields;
}
