/** One door to all translators: a framed object to the piece that the cluster state takes. */
import type { Piece, PieceKind } from "../cluster-state.ts";
import { translateAuthorizationPolicy } from "./authorization-policy.ts";
import { translateEndpointSlice } from "./endpoint-slice.ts";
import type { KubernetesObject } from "./metadata.ts";
import { translateNamespace } from "./namespace.ts";
import { translateNetworkPolicy } from "./network-policy.ts";
import { translateNode } from "./node.ts";
import { translatePeerAuthentication } from "./peer-authentication.ts";
import { translatePod } from "./pod.ts";
import { translateService } from "./service.ts";
import { rejected, type Translation } from "./translation.ts";

const groups: Readonly<Record<PieceKind, { readonly group: string; readonly versions: readonly string[] }>> = {
  Namespace: { group: "", versions: ["v1"] },
  Node: { group: "", versions: ["v1"] },
  Pod: { group: "", versions: ["v1"] },
  Service: { group: "", versions: ["v1"] },
  EndpointSlice: { group: "discovery.k8s.io", versions: ["v1"] },
  PeerAuthentication: { group: "security.istio.io", versions: ["v1", "v1beta1"] },
  AuthorizationPolicy: { group: "security.istio.io", versions: ["v1", "v1beta1"] },
  NetworkPolicy: { group: "networking.k8s.io", versions: ["v1"] },
};

/** The kind of an object that the mesh reads; undefined for all others, which are ignored. */
export function pieceKind(apiVersion: string, kind: string): PieceKind | undefined {
  const slash = apiVersion.indexOf("/");
  const group = slash === -1 ? "" : apiVersion.slice(0, slash);
  return Object.hasOwn(groups, kind) && groups[kind as PieceKind].group === group ? (kind as PieceKind) : undefined;
}

/** `namespace` is where the object lives, empty for a Namespace or a Node. */
export function translate(kind: PieceKind, object: KubernetesObject, namespace: string): Translation<Piece> {
  const version = object.apiVersion.slice(object.apiVersion.indexOf("/") + 1);
  const { versions } = groups[kind];
  if (!versions.includes(version)) {
    return rejected([{ field: "apiVersion", message: `${kind} is read in version ${versions.join(" or ")}` }]);
  }
  switch (kind) {
    case "Namespace":
      return as(kind, translateNamespace(object));
    case "Node":
      return as(kind, translateNode(object));
    case "Pod":
      return as(kind, translatePod(object, namespace));
    case "Service":
      return as(kind, translateService(object, namespace));
    case "EndpointSlice":
      return as(kind, translateEndpointSlice(object, namespace));
    case "PeerAuthentication":
      return as(kind, translatePeerAuthentication(object, namespace));
    case "AuthorizationPolicy":
      return as(kind, translateAuthorizationPolicy(object, namespace));
    case "NetworkPolicy":
      return as(kind, translateNetworkPolicy(object, namespace));
  }
}

function as(kind: PieceKind, translation: Translation<Piece["value"]>): Translation<Piece> {
  const piece = (value: Piece["value"]): Piece => ({ kind, value }) as Piece;
  switch (translation.kind) {
    case "ok":
      return { ...translation, value: piece(translation.value) };
    case "rejected":
      return translation.otherwise === undefined
        ? rejected(translation.problems)
        : rejected(translation.problems, piece(translation.otherwise));
    case "ignored":
      return translation;
  }
}
