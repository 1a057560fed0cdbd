/** Every knob of the control plane, with its default and the reason for it; `warren control --help` is made from it. */
import { z } from "zod";
import { asIdentity, isTrustDomain } from "../identity/spiffe.ts";
import { duration, listenAddress, path } from "../lib/config-schema.ts";
import type { Identity } from "../model/identity.ts";

const hostName = /^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$/;

const log = z
  .strictObject({
    level: z
      .enum(["trace", "debug", "info", "warn", "error"])
      .prefault("info")
      .describe("Least severe level written. Issued certificates are info, refused requests warn."),
    format: z.enum(["text", "json"]).prefault("text").describe("text is key=value for people, json is for collectors."),
  })
  .describe("The control plane's log, on standard output.");

const trustDomain = z
  .string()
  .refine(isTrustDomain, "is not a SPIFFE trust domain; write lower-case letters, digits, dots, dashes");

const mesh = z
  .strictObject({
    trustDomainAliases: z
      .array(trustDomain)
      .prefault([])
      .describe("Other trust domains whose identities are accepted as this mesh's own, for the time of a move."),
    clusterDomain: z.string().min(1).prefault("cluster.local").describe("DNS suffix of Services; Kubernetes' default."),
    cluster: z.string().min(1).prefault("Kubernetes").describe("Name of this cluster; Istio's default."),
    rootNamespace: z
      .string()
      .min(1)
      .prefault("warren-system")
      .describe("Policies in this namespace without a selector hold for the whole mesh."),
    localTraffic: z
      .enum(["mtls", "auto"])
      .prefault("mtls")
      .describe(
        "Traffic between pods of one node: mtls encrypts it like any other; auto may skip TLS inside the node.",
      ),
    defaultAction: z
      .enum(["allow", "deny"])
      .prefault("allow")
      .describe("What holds for workloads that no ALLOW policy selects."),
    deniedIdentities: z
      .array(z.string())
      .prefault([])
      .transform((texts, context) =>
        texts.flatMap((text, index): Identity[] => {
          const identity = asIdentity(text);
          if (identity !== undefined) return [identity];
          const message = "is not a SPIFFE id; write spiffe://trust-domain/ns/namespace/sa/account";
          context.addIssue({ code: "custom", path: [index], message });
          return [];
        }),
      )
      .describe("Identities refused everywhere, whatever certificate they show."),
  })
  .describe("What holds for the whole mesh; agents that take their state from here are told.");

const kubernetes = z
  .strictObject({
    config: z
      .string()
      .min(1)
      .optional()
      .describe(
        "The cluster that says which pods live where: in-cluster for the pod's own service account, or the path of a kubeconfig.",
      ),
    context: z.string().prefault("").describe("Context of the kubeconfig; its current one if empty."),
    namespace: z
      .string()
      .min(1)
      .prefault("warren-system")
      .describe("Where control keeps its Secret warren-ca, its ConfigMap warren-ca-root and its Lease warren-control."),
    audiences: z
      .array(z.string().min(1))
      .min(1)
      .prefault(["warren-control"])
      .describe("What agents' tokens must be meant for; add istio-ca for a ztunnel."),
    trustedAccounts: z
      .array(z.string().regex(/^[a-z0-9.-]+\/[a-z0-9.-]+$/, "is not namespace/name"))
      .min(1)
      .prefault(["warren-system/warren-node"])
      .describe("Service accounts that agents run as, namespace/name; nobody else gets a certificate for a pod."),
    plugInSecret: z
      .string()
      .prefault("cacerts")
      .describe("Secret in that namespace with certificates to sign with instead of our own; used if it exists."),
  })
  .describe("A cluster as source of the mesh's state, instead of manifests.");

/** `config` of the kubernetes group for the pod's own service account. */
export const inCluster = "in-cluster";

export const controlConfigSchema = z
  .strictObject({
    manifests: path()
      .optional()
      .describe(
        "Folder of Kubernetes manifests that says which pods live where; watched for changes. Or kubernetes.config.",
      ),
    kubernetes,
    defaultNamespace: z
      .string()
      .min(1)
      .prefault("default")
      .describe("Namespace of manifests that name none, as kubectl has it; the same as the agents'."),
    state: path()
      .optional()
      .describe(
        "Folder that keeps the root and the intermediate with their keys; made on first start, readable by this user alone. With Kubernetes a Secret does.",
      ),
    cacerts: path()
      .optional()
      .describe(
        "Folder with ca-cert.pem, ca-key.pem, cert-chain.pem, root-cert.pem (and ca-crl.pem) to sign with, instead of a root of our own; watched. With Kubernetes a Secret does.",
      ),
    nodeTokens: path()
      .optional()
      .describe(
        "YAML file with `tokens`, a map of node name to the SHA-256 of that node's bearer token in hexadecimal, and `operators`, a map of name to {token, actions}; watched.",
      ),
    publishRoot: path()
      .optional()
      .describe("File to write the root certificate to, for agents to trust; replaced in one step."),
    trustDomain: trustDomain
      .prefault("cluster.local")
      .describe("First part of every identity; the authority signs for no other."),
    mesh,
    listen: listenAddress()
      .prefault(":15012")
      .describe("Where agents hear the state of the mesh and ask for certificates, gRPC over TLS."),
    admin: listenAddress()
      .prefault(":15014")
      .describe("Readiness at /healthz/ready and metrics at /metrics, on all addresses for kubelet and scraper."),
    operatorSocket: path()
      .optional()
      .describe(
        "Unix socket beside listen, for warren's verbs on this machine: the same TLS, and operators still show their token.",
      ),
    servingNames: z
      .array(z.string().regex(new RegExp(`${hostName.source}|^[0-9a-fA-F:.]+$`), "is neither a host name nor an IP"))
      .prefault([])
      .describe(
        "Further names and IPs that agents dial; this host's own addresses, its name and localhost are always in the certificate.",
      ),
    certificateLifetime: duration({ min: "1s", max: "90d" })
      .prefault("24h")
      .describe("What a workload's certificate lasts at most; agents renew at half of it."),
    servingLifetime: duration({ min: "2s", max: "90d" })
      .prefault("24h")
      .describe("What the control plane's own certificate lasts; renewed at half of it under open connections."),
    intermediateLifetime: duration({ min: "10s", max: "366d" })
      .prefault("365d")
      .describe("What the signing intermediate lasts; renewed at half of it, so a stolen key ages out."),
    rootLifetime: duration({ min: "1m", max: "7300d" })
      .prefault("3650d")
      .describe("What a new root lasts. It only signs intermediates."),
    rootRotateAt: z
      .number()
      .min(0.1)
      .max(1)
      .prefault(0.8)
      .describe("Part of a root's life after which its rotation begins by itself; 1 for never."),
    rootSettle: duration({ max: "24h" })
      .prefault("2m")
      .describe(
        "A new root is trusted this long at least before anything is issued from it: what a ConfigMap needs to reach the agents' files.",
      ),
    distributeRoots: z
      .boolean()
      .prefault(true)
      .describe(
        "Agents are told which roots to trust and renew certificates of others; false where another authority issues theirs.",
      ),
    concurrency: z
      .int()
      .min(1)
      .max(4096)
      .prefault(64)
      .describe("Certificate requests answered at once; more are turned away and come back with backoff."),
    drainDeadline: duration({ max: "1h" })
      .prefault("5s")
      .describe("After SIGTERM requests under way may end for this long; agents then ask another replica or later."),
    log,
  })
  // Whether or not something else is wrong: all problems are told together.
  .refine(({ manifests, kubernetes: cluster }) => (manifests === undefined) !== (cluster?.config === undefined), {
    path: ["manifests"],
    message: "or kubernetes.config must be set, and not both: one says where the state of the mesh comes from",
    when: () => true,
  })
  .refine(({ state, kubernetes: cluster }) => (state === undefined) !== (cluster?.config === undefined), {
    path: ["state"],
    message:
      "is required with manifests, and has no meaning with kubernetes.config: a Secret keeps the authority there",
    when: () => true,
  })
  .refine(({ cacerts, kubernetes: cluster }) => cacerts === undefined || cluster?.config === undefined, {
    path: ["cacerts"],
    message: "has no meaning with kubernetes.config: kubernetes.plugInSecret names the Secret that holds them there",
    when: () => true,
  })
  .refine(({ nodeTokens, kubernetes: cluster }) => (nodeTokens === undefined) !== (cluster?.config === undefined), {
    path: ["nodeTokens"],
    message:
      "is required with manifests, and has no meaning with kubernetes.config: service accounts prove agents there",
    when: () => true,
  })
  .superRefine((config, context) => {
    const wrong = (key: string, message: string) => context.addIssue({ code: "custom", path: [key], message });
    for (const key of ["certificateLifetime", "servingLifetime"] as const) {
      // The intermediate is renewed at half life: what it signs must fit into the other half.
      if (config[key] * 2 > config.intermediateLifetime) {
        wrong(key, "is more than half of intermediateLifetime; lower it or raise that");
      }
    }
    if (config.intermediateLifetime > config.rootLifetime) {
      wrong("intermediateLifetime", "is longer than rootLifetime; lower it or raise that");
    }
  });

export type ControlConfig = z.output<typeof controlConfigSchema>;
