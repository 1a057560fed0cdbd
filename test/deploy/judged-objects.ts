/** Policies that the CRDs and the admission policies must let in or refuse: judged by models of both, and by a real API server. */
import { parse } from "yaml";

export type PolicyKind = "AuthorizationPolicy" | "PeerAuthentication";

const authorization = "AuthorizationPolicy";
const peer = "PeerAuthentication";

/** Specs that the CRDs let in. */
export const accepted: readonly (readonly [PolicyKind, string])[] = [
  [authorization, "{}"],
  [authorization, "{rules: []}"],
  [authorization, "{rules: [{}]}"],
  [authorization, "{action: DENY, rules: [{from: [{source: {namespaces: [a, 'b*', '*c', '*']}}]}]}"],
  [authorization, "{targetRefs: [{kind: Service, name: api}, {group: '', kind: Service, name: b}]}"],
  [authorization, "{targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: gw}}"],
  [authorization, "{rules: [{from: [{source: {ipBlocks: [10.0.0.0/8, 10.1.2.3, 'fd00::/8', '::1']}}]}]}"],
  [
    authorization,
    "{rules: [{to: [{operation: {ports: ['1', '65535'], paths: ['/a/{*}/b', '/c/{**}', '/d*', '*']}}]}]}",
  ],
  [authorization, "{rules: [{when: [{key: 'request.headers[x-tenant]', values: [blue]}]}]}"],
  [authorization, "{rules: [{when: [{key: source.ip, notValues: [10.0.0.1]}]}]}"],
  [authorization, "{action: AUDIT, rules: [{from: [{source: {serviceAccounts: [a/b, c]}}]}]}"],
  [peer, "{}"],
  [peer, "{mtls: {mode: UNSET}}"],
  [peer, "{selector: {matchLabels: {app: a}}, portLevelMtls: {8080: {mode: DISABLE}, 65535: {}}}"],
];

const source = (fields: string) => `{rules: [{from: [{source: {${fields}}}]}]}`;
const operation = (fields: string) => `{rules: [{to: [{operation: {${fields}}}]}]}`;

/** Specs that the CRDs refuse, and why. */
export const refused: readonly (readonly [PolicyKind, string, RegExp])[] = [
  [authorization, "{selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: x}]}", /at most one of/],
  [authorization, "{targetRef: {kind: Service, name: x}, targetRefs: [{kind: Service, name: x}]}", /at most one of/],
  [authorization, "{targetRef: {kind: Pod, name: x}}", /targets are Services/],
  [authorization, "{targetRef: {kind: Service, name: x, namespace: other}}", /own namespace/],
  [authorization, "{action: CUSTOM, rules: [{}]}", /external authorizer/],
  [authorization, "{provider: {name: x}}", /provider belongs to action CUSTOM/],
  [authorization, "{action: DENY}", /at least one rule/],
  [authorization, "{action: AUDIT, rules: []}", /at least one rule/],
  [authorization, "{action: BLOCK}", /is none of ALLOW/],
  [authorization, "{selector: {matchLabels: {app: 'a*'}}}", /no wildcard/],
  [authorization, "{selector: {matchLabels: {'': a}}}", /no empty key/],
  [authorization, source(""), /has 0 fields/],
  [authorization, source("principals: []"), /has 0 items/],
  [authorization, source("principals: ['']"), /has 0 characters/],
  [authorization, source("principals: ['a*b']"), /does not match/],
  [authorization, source("principal: [a]"), /unknown field/],
  [authorization, source("ipBlocks: [10.0.0.0/33]"), /does not match/],
  [authorization, source("ipBlocks: [host]"), /does not match/],
  [authorization, source("notRemoteIpBlocks: ['fd00::/129']"), /does not match/],
  [authorization, source("requestPrincipals: [x]"), /JWT/],
  [authorization, source("serviceAccounts: [a/b], namespaces: [c]"), /cannot stand beside/],
  [authorization, source("serviceAccounts: ['a*']"), /does not match/],
  [authorization, source("trustDomains: [a/b]"), /does not match/],
  [authorization, "{rules: [{from: [{}]}]}", /source: is missing/],
  [authorization, operation("ports: ['0']"), /does not match/],
  [authorization, operation("ports: ['65536']"), /does not match/],
  [authorization, operation("ports: [80]"), /is no string/],
  [authorization, operation("paths: ['/a/{name}']"), /does not match/],
  [authorization, "{rules: [{when: [{key: source.ip}]}]}", /values or notValues/],
  [authorization, "{rules: [{when: [{key: connection.sni, values: [a]}]}]}", /SNI/],
  [authorization, "{rules: [{when: [{key: 'request.auth.claims[x]', values: [a]}]}]}", /JWT claims/],
  [peer, "{portLevelMtls: {8080: {mode: STRICT}}}", /needs a selector/],
  [peer, "{selector: {}, portLevelMtls: {8080: {mode: STRICT}}}", /needs a selector/],
  [peer, "{selector: {matchLabels: {a: b}}, portLevelMtls: {}}", /has 0 fields/],
  [peer, "{selector: {matchLabels: {a: b}}, portLevelMtls: {http: {mode: STRICT}}}", /ports of 1 to 65535/],
  [peer, "{selector: {matchLabels: {a: b}}, portLevelMtls: {70000: {mode: STRICT}}}", /ports of 1 to 65535/],
  [peer, "{mtls: {mode: STRIKT}}", /is none of UNSET/],
  [peer, "{mtsl: {mode: STRICT}}", /unknown field/],
];

export function authorizationPolicy(spec: string, metadata = "{name: x, namespace: shop}"): object {
  return parse(`{kind: AuthorizationPolicy, metadata: ${metadata}, spec: ${spec}}`) as object;
}

export function peerAuthentication(spec: string, namespace = "shop"): object {
  return parse(`{kind: PeerAuthentication, metadata: {name: x, namespace: ${namespace}}, spec: ${spec}}`) as object;
}

/** Of which the admission policies say nothing. */
export const silent: readonly object[] = [
  authorizationPolicy("{}"),
  authorizationPolicy("{rules: [{}]}"),
  parse("{kind: AuthorizationPolicy, metadata: {name: x, namespace: shop}}") as object,
  parse("{kind: PeerAuthentication, metadata: {name: x, namespace: shop}}") as object,
  authorizationPolicy("{rules: [{from: [{source: {ipBlocks: [10.0.0.0/8, 'fd00::1']}}]}]}"),
  authorizationPolicy("{action: DENY, rules: [{to: [{operation: {methods: [PUT], ports: ['80']}}]}]}"),
  authorizationPolicy("{rules: [{}]}", "{name: x, namespace: shop, annotations: {istio.io/dry-run: 'true'}}"),
  peerAuthentication("{selector: {matchLabels: {a: b}}, portLevelMtls: {80: {mode: STRICT}}}"),
];

/** What `warren-policies` refuses, and why. */
export const denied: readonly (readonly [object, RegExp])[] = [
  [authorizationPolicy("{action: CUSTOM, rules: [{}]}"), /CUSTOM/],
  [authorizationPolicy("{action: DENY}"), /at least one rule/],
  [
    authorizationPolicy("{rules: [{}]}", "{name: x, namespace: shop, annotations: {istio.io/dry-run: yes please}}"),
    /dry-run/,
  ],
  [authorizationPolicy("{rules: [{from: [{source: {requestPrincipals: [a]}}]}]}"), /JWT/],
  [authorizationPolicy("{rules: [{from: [{source: {ipBlocks: [10.0.0.0/99]}}]}]}"), /^ipBlocks/],
  [authorizationPolicy("{rules: [{from: [{source: {notIpBlocks: [999.1.1.1]}}]}]}"), /^notIpBlocks/],
  [authorizationPolicy("{rules: [{from: [{source: {remoteIpBlocks: ['a:b']}}]}]}"), /^remoteIpBlocks/],
  [authorizationPolicy("{rules: [{from: [{source: {notRemoteIpBlocks: [x]}}]}]}"), /^notRemoteIpBlocks/],
  [authorizationPolicy("{rules: [{to: [{operation: {ports: ['70000']}}]}]}"), /^ports/],
  [authorizationPolicy("{rules: [{to: [{operation: {notPorts: [http]}}]}]}"), /^notPorts/],
  [peerAuthentication("{portLevelMtls: {80: {mode: STRICT}}}"), /needs a selector/],
];

/** What `warren-policy-lints` warns about, and by which code. */
export const warned: readonly (readonly [object, string])[] = [
  [authorizationPolicy("{rules: [{from: [{source: {principals: ['spiffe://cluster.local/ns/a/sa/b']}}]}]}"), "WP103"],
  [authorizationPolicy("{rules: [{from: [{source: {notNamespaces: [a]}}]}]}"), "WP105"],
  [authorizationPolicy("{action: DENY, rules: [{to: [{operation: {methods: [PUT]}}]}]}"), "WP109"],
  [peerAuthentication("{selector: {matchLabels: {a: b}}}", "warren-system"), "WP112"],
  [authorizationPolicy("{rules: [{from: [{source: {remoteIpBlocks: [10.0.0.1]}}]}]}"), "WP113"],
];
