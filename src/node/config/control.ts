/** Who tells the agent what the mesh is, and who signs its pods' certificates. */
import { z } from "zod";
import { asIdentity, isTrustDomain } from "../../identity/spiffe.ts";
import { address, duration, path } from "../../lib/config-schema.ts";
import type { Identity } from "../../model/identity.ts";

export const control = z
  .strictObject({
    address: address().describe(
      "Where the control plane tells the state of the mesh and issues certificates. Required: without it no pod could prove who it is.",
    ),
    rootCertificate: path().describe(
      "PEM file with the root that the control plane's own certificate must chain to; read again when it changes.",
    ),
    tokenFile: path().describe(
      "File with the bearer token that tells the control plane which node this is; read for every call, because projected tokens rotate.",
    ),
    serverName: z
      .string()
      .min(1)
      .optional()
      .describe("Name that the control plane's certificate must carry, when it is not the host of control.address."),
  })
  .describe("The control plane: it signs the certificates of this node's pods.");

export const authority = z
  .strictObject({
    address: address()
      .optional()
      .describe(
        "Another certificate authority than the control plane: whatever answers Istio's CreateCertificate, as istiod and cert-manager's istio-csr do.",
      ),
    rootCertificate: path()
      .optional()
      .describe(
        "PEM file with the root that this authority's own certificate must chain to; read again when it changes.",
      ),
    tokenFile: path()
      .optional()
      .describe(
        "File with the bearer token for this authority; istio-csr and istiod want one for the audience istio-ca.",
      ),
    serverName: z
      .string()
      .min(1)
      .optional()
      .describe("Name that this authority's certificate must carry, when it is not the host of authority.address."),
  })
  .describe(
    "Who issues the pods' certificates, when that is not the control plane. A control plane beside it needs distributeRoots: false.",
  );

const trustDomain = z.string().refine(isTrustDomain, {
  error: "is not a trust domain; write lower-case letters, digits, dots, dashes and underscores",
});

const identity = z.string().transform((text, context): Identity => {
  const parsed = asIdentity(text);
  if (parsed !== undefined) return parsed;
  context.addIssue({
    code: "custom",
    message: "is not a SPIFFE id; write spiffe://trust-domain/ns/namespace/sa/account",
  });
  return z.NEVER;
});

export const mesh = z
  .strictObject({
    trustDomain: trustDomain
      .prefault("cluster.local")
      .describe("First part of every identity of this mesh; what Istio uses by default."),
    trustDomainAliases: z
      .array(trustDomain)
      .prefault([])
      .describe("Other trust domains whose identities are accepted as this mesh's own, for the time of a move."),
    clusterDomain: z.string().min(1).prefault("cluster.local").describe("DNS suffix of Services; Kubernetes' default."),
    cluster: z
      .string()
      .min(1)
      .prefault("Kubernetes")
      .describe("Name of this cluster in metrics and requests to the authority; Istio's default."),
    rootNamespace: z
      .string()
      .min(1)
      .prefault("warren-system")
      .describe("Policies in this namespace without a selector hold for the whole mesh."),
    defaultNamespace: z
      .string()
      .min(1)
      .prefault("default")
      .describe("Namespace of manifests that name none, as kubectl has it."),
    defaultAction: z
      .enum(["allow", "deny"])
      .prefault("allow")
      .describe(
        "What holds for workloads that no ALLOW policy selects. allow is what AuthorizationPolicy's users expect.",
      ),
    deniedIdentities: z
      .array(identity)
      .prefault([])
      .describe("Identities refused everywhere, whatever certificate they show."),
  })
  .describe("What the mesh is, beside its objects. With discovery the control plane says it, and its word holds.");

export const discovery = z
  .strictObject({
    dialect: z
      .enum(["warren", "istio"])
      .prefault("warren")
      .describe(
        "Whose control plane control.address is. istio takes workloads, Services and policies from istiod; it tells of no pods to enrol, so Istio's CNI agent has to, and of no settings, so mesh.* hold.",
      ),
    stateFile: path()
      .prefault("/run/warren/last-good-state")
      .describe(
        "Where the last good state is kept for an agent that starts while the control plane is away; a tmpfs of the node. It holds no keys.",
      ),
  })
  .describe("The state of the mesh as the control plane tells it, when there is no folder of manifests.");

export const certificates = z
  .strictObject({
    lifetime: duration({ min: "1s" })
      .prefault("24h")
      .describe(
        "Lifetime to ask for; the control plane may give less. Renewed at half of it, so an outage of 12 hours goes unnoticed.",
      ),
    concurrency: z
      .int()
      .min(1)
      .max(256)
      .prefault(8)
      .describe(
        "Requests to the control plane at once; a node that starts with 100 identities is done in a dozen rounds.",
      ),
    requestTimeout: duration({ min: "100ms" })
      .prefault("10s")
      .describe("One request may take this long before it is tried again."),
  })
  .describe("Certificates of this node's pods.");
