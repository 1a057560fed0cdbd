/** Lints that compare policies with the workloads and Services of the mesh. */
import { labelsMatch } from "../lib/labels.ts";
import type { AuthorizationPolicy } from "../model/authorization.ts";
import type { MeshView } from "../model/mesh.ts";
import type { PeerAuthentication } from "../model/peer-authentication.ts";
import type { Workload } from "../model/workload.ts";
import { asksHttp } from "./authorization/compile-rule.ts";
import { authorizationKey } from "./authorization/compiled-policy.ts";
import { mayConcernPort } from "./authorization/http-ports.ts";
import { asksIdentity, type Found } from "./lint-rules.ts";
import { peerAuthenticationKey } from "./peer-authentication.ts";

export interface FoundAt {
  readonly kind: "AuthorizationPolicy" | "PeerAuthentication";
  readonly object: string;
  readonly found: readonly Found[];
}

export function workloadsByPolicy(
  view: MeshView,
  authorization: readonly AuthorizationPolicy[],
  authentication: readonly PeerAuthentication[],
): FoundAt[] {
  // By name: a view may read its policies anew each time that it is asked for them.
  const selected = new Map<string, Workload[]>(authorization.map((policy) => [authorizationKey(policy), []]));
  for (const workload of view.workloads()) {
    for (const policy of view.authorizationFor(workload)) selected.get(authorizationKey(policy))?.push(workload);
  }
  const ports = servicePorts(view);
  return [
    ...authorization.map((policy): FoundAt => {
      const workloads = selected.get(authorizationKey(policy)) ?? [];
      const found = [...unknownServices(view, policy), ...lintSelected(view, policy, workloads, ports)];
      return { kind: "AuthorizationPolicy", object: authorizationKey(policy), found };
    }),
    ...authentication.map((policy): FoundAt => {
      const found = nobodySelected(selectedByPeerAuthentication(view, policy), policy.matchLabels);
      return { kind: "PeerAuthentication", object: peerAuthenticationKey(policy), found };
    }),
  ];
}

function selectedByPeerAuthentication(view: MeshView, policy: PeerAuthentication): Workload[] {
  const everywhere = policy.namespace === view.settings.rootNamespace;
  return [...view.workloads()].filter(
    ({ namespace, labels }) =>
      (everywhere || namespace === policy.namespace) && labelsMatch(policy.matchLabels, labels),
  );
}

function nobodySelected(workloads: readonly Workload[], matchLabels: AuthorizationPolicy["matchLabels"]): Found[] {
  if (workloads.length === 0) {
    // A namespace may be empty for a while; a selector without a match is more often a typing error.
    if (matchLabels === undefined || matchLabels.size === 0) return [];
    const labels = [...matchLabels].map(([key, value]) => `${key}=${value}`).join(",");
    return [["WP101", "warning", "spec.selector", `no workload has the labels ${labels}`]];
  }
  if (workloads.some(({ tunnel }) => tunnel === "hbone")) return [];
  return [["WP111", "warning", "", "none of the selected workloads is enrolled, so nothing enforces it"]];
}

function unknownServices(view: MeshView, { namespace, targetServices }: AuthorizationPolicy): Found[] {
  return targetServices.flatMap((name): Found[] => {
    const hostname = `${name}.${namespace}.svc.${view.settings.clusterDomain}`;
    if (view.serviceByHostname(namespace, hostname) !== undefined) return [];
    return [["WP114", "warning", "spec.targetRefs", `there is no Service ${namespace}/${name}`]];
  });
}

interface KnownPorts {
  /** Ports that Services send to, by workload. */
  readonly targets: ReadonlySet<number>;
  /** Service ports whose target is another one. */
  readonly services: ReadonlyMap<number, number>;
  /** Targets whose Service port says that it is something else than HTTP. */
  readonly notHttp: ReadonlyMap<number, string>;
}

const httpProtocols = /^(?:http|http2|https|h2c|grpc|grpc-web|kubernetes\.io\/h2c|kubernetes\.io\/ws)$/i;

/** By workload uid. */
function servicePorts(view: MeshView): ReadonlyMap<string, KnownPorts> {
  const known = new Map<
    string,
    { targets: Set<number>; services: Map<number, number>; notHttp: Map<number, string> }
  >();
  for (const service of view.services()) {
    for (const { port, appProtocol } of service.ports) {
      for (const { workload, targetPort } of view.endpoints(service, port) ?? []) {
        if (workload === undefined) continue;
        const ports = known.get(workload) ?? { targets: new Set(), services: new Map(), notHttp: new Map() };
        known.set(workload, ports);
        ports.targets.add(targetPort);
        if (port !== targetPort) ports.services.set(port, targetPort);
        if (appProtocol !== "" && !httpProtocols.test(appProtocol)) ports.notHttp.set(targetPort, appProtocol);
      }
    }
  }
  return known;
}

function lintSelected(
  view: MeshView,
  policy: AuthorizationPolicy,
  workloads: readonly Workload[],
  ports: ReadonlyMap<string, KnownPorts>,
): Found[] {
  const found = new Map<string, Found>();
  const add = (one: Found): unknown => found.set(`${one[0]} ${one[2]} ${one[3]}`, one);
  for (const one of nobodySelected(workloads, policy.matchLabels)) add(one);
  const recorded = policy.dryRun || policy.action === "AUDIT";
  for (const [index, rule] of policy.rules.entries()) {
    const at = `spec.rules[${index}]`;
    const identity = rule.from.length > 0 && rule.from.every(asksIdentity);
    for (const workload of workloads) {
      if (workload.tunnel !== "hbone") continue;
      const known = ports.get(workload.uid);
      for (const one of servicePortsMeant(rule.to, known, at)) add(one);
      for (const [port, protocol] of known?.notHttp ?? []) {
        if (!recorded && asksHttp(rule) && mayConcernPort(rule, port)) {
          add(["WP107", "warning", at, `port ${port} is ${protocol}: what isn't HTTP is refused there`]);
        }
      }
      if (identity && !recorded && plaintextAllowed(view, workload, known)) {
        if (policy.action === "ALLOW") {
          add(["WP106", "note", at, "plaintext clients have no identity and are refused; STRICT would say so earlier"]);
        } else if (policy.action === "DENY") {
          add([
            "WP115",
            "warning",
            at,
            "plaintext clients have no identity and pass by this DENY; use STRICT beside it",
          ]);
        }
      }
    }
  }
  return [...found.values()];
}

function servicePortsMeant(
  to: AuthorizationPolicy["rules"][number]["to"],
  known: KnownPorts | undefined,
  at: string,
): Found[] {
  return to.flatMap(({ ports, notPorts }, entry) =>
    [...ports, ...notPorts].flatMap((text): Found[] => {
      const target = known?.services.get(Number(text));
      if (target === undefined || known?.targets.has(Number(text)) === true) return [];
      const field = `${at}.to[${entry}].operation`;
      return [["WP108", "warning", field, `${text} is a Service's port; the workload listens on ${target}`]];
    }),
  );
}

function plaintextAllowed(view: MeshView, workload: Workload, known: KnownPorts | undefined): boolean {
  const ports = known === undefined || known.targets.size === 0 ? [0] : [...known.targets];
  return ports.some((port) => view.inboundMode(workload, port).mode !== "STRICT");
}
