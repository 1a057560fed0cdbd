/**
 * Every knob of the node agent, with its default and the reason for it. The same schema makes `warren node --help` and
 * docs/configuration.md. Nothing else in the agent holds a default.
 */
import { z } from "zod";
import { asIdentity, isTrustDomain } from "../identity/spiffe.ts";
import { address, byteSize, duration, listenAddress, path } from "../lib/config-schema.ts";
import type { Identity } from "../model/identity.ts";
import { type AccessMode, accessModes } from "../telemetry/access-choice.ts";
import { cni } from "./cni/config.ts";
import { zds } from "./zds/config.ts";

const control = z
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

const authority = z
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

const mesh = z
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

const discovery = z
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

const certificates = z
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

const capture = z
  .strictObject({
    backend: z
      .enum(["auto", "ebpf", "nftables"])
      .prefault("auto")
      .describe("How traffic is redirected. auto tries eBPF on this kernel and falls back to nftables per pod."),
    pinDirectory: path()
      .prefault("/sys/fs/bpf/warren")
      .describe("Directory on a bpffs where programs and maps are pinned, so that redirection outlives the agent."),
    podsCgroup: path()
      .optional()
      .describe(
        "The cgroup v2 that all pods live under; connect hooks are attached here. Default: where kubelets keep pods, found on this node.",
      ),
    kubeletCgroup: path()
      .optional()
      .describe(
        "cgroup v2 of the kubelet; its probes reach applications untouched. Default: where a kubelet's process is seen; with none, probes are plaintext like any other.",
      ),
    agentCgroup: path()
      .optional()
      .describe(
        "cgroup v2 of this agent; its deliveries to applications are exempt. Default: read from /proc/self/cgroup.",
      ),
    hostNetns: path()
      .prefault("/proc/self/ns/net")
      .describe(
        "The node's own network namespace, from which the kubelet probes. An agent that has one of its own and the host's PIDs: /proc/1/ns/net.",
      ),
    criSocket: path()
      .optional()
      .describe(
        "Unix socket of the container runtime, asked where a pod's network namespace is. Default: it is found through the pod's processes.",
      ),
    netnsDirectory: path()
      .prefault("/run/netns")
      .describe("Where the runtime keeps network namespaces by name; looked through for pods without a process."),
  })
  .describe("Redirection of pod traffic to this agent.");

const log = z
  .strictObject({
    level: z
      .enum(["trace", "debug", "info", "warn", "error"])
      .prefault("info")
      .describe("Least severe level written; can be changed while running by POST /log-level."),
    format: z
      .enum(["text", "json"])
      .prefault("text")
      .describe("text is key=value for people, json is for collectors. Holds for the access log too."),
  })
  .describe("The agent's own log, on standard output.");

const accessNamespace = z.string().transform((text, context): readonly [string, AccessMode] => {
  const [, namespace = "", word = ""] = /^([a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)=(.*)$/.exec(text) ?? [];
  const mode = accessModes.find((known) => known === word);
  if (namespace !== "" && mode !== undefined) return [namespace, mode];
  context.addIssue({
    code: "custom",
    message: `${JSON.stringify(text)} is not namespace=mode; write it like production=off, modes are ${accessModes.join(", ")}`,
  });
  return z.NEVER;
});

const accessLog = z
  .strictObject({
    mode: z
      .enum(accessModes)
      .prefault("all")
      .describe("Which connections get a line at their end. failures keeps refusals and errors only."),
    namespaces: z
      .array(accessNamespace)
      .prefault([])
      .describe(
        "Modes of namespaces that have their own, like production=off,dev=failures; the namespace is the pod's.",
      ),
    sample: z
      .number()
      .min(0)
      .max(1)
      .prefault(1)
      .describe("Share of successful connections that get a line, from 0 to 1. Refusals and errors always do."),
    path: path().optional().describe("File to append to. Default: standard output, beside the agent's log."),
    buffer: byteSize({ min: "64KiB", max: "64MiB" })
      .prefault("4MiB")
      .describe(
        "Lines waiting for a slow reader; above it lines are dropped and counted, because logging must never hold up traffic. About 8000 lines.",
      ),
  })
  .describe("One line per connection, at its end.");

const metricsLimits = z
  .strictObject({
    series: z
      .int()
      .min(16)
      .max(100_000)
      .prefault(1000)
      .describe("Distinct label sets of the istio_tcp_* families; more go into one series whose labels read other."),
    seriesIdle: duration({ min: "1m" })
      .prefault("1h")
      .describe("A label set unused for this long is dropped, so that deleted workloads do not stay for ever."),
  })
  .describe("Bounds of the metrics, so that churn of workloads cannot grow them without end.");

const drain = z
  .strictObject({
    deadline: duration({ max: "1h" })
      .prefault("25s")
      .describe(
        "After SIGTERM open connections may end for this long, then they are cut. 5 s less than Kubernetes' 30 s grace period.",
      ),
  })
  .describe("Stopping.");

const enrolment = z
  .strictObject({
    concurrency: z
      .int()
      .min(1)
      .max(64)
      .prefault(4)
      .describe("Pods enrolled at the same time. A few, because the namespace work is done by one thread anyway."),
    retry: duration({ min: "10ms" })
      .prefault("250ms")
      .describe("First pause after a failed enrolment; doubles with jitter."),
    retryMax: duration({ min: "100ms" })
      .prefault("15s")
      .describe("Longest pause between attempts: a pod that comes up late is in the mesh within this time."),
    verify: duration({ min: "1s" })
      .prefault("1m")
      .describe(
        "How often each captured pod is probed again through the real path: redirection that was right once can be lost.",
      ),
    timeout: duration({ min: "1s" })
      .prefault("10s")
      .describe(
        "One attempt may take this long before it counts as failed; measured enrolments take well under 100 ms.",
      ),
  })
  .describe("Bringing this node's pods into the mesh.");

const timeouts = z
  .strictObject({
    unknownSource: duration()
      .prefault("5s")
      .describe(
        "A connection of a captured pod that the mesh does not know yet is held this long: state may be on its way.",
      ),
    decision: duration({ min: "100ms" })
      .prefault("10s")
      .describe(
        "A connection without a decision is refused after this; above timeouts.unknownSource so that that one speaks first.",
      ),
    credential: duration()
      .prefault("10s")
      .describe("A handshake waits this long for the workload's first certificate."),
    connect: duration({ min: "100ms" })
      .prefault("10s")
      .describe("TCP connect to a peer or an application; what ztunnel and most clients use."),
    tls: duration({ min: "100ms" })
      .prefault("10s")
      .describe("TLS handshake; a healthy one takes milliseconds, so this only bounds what a silent peer can hold."),
    http2: duration({ min: "100ms" }).prefault("10s").describe("HTTP/2 settings exchange after TLS."),
    connectAnswer: duration({ min: "100ms" })
      .prefault("15s")
      .describe("Answer to CONNECT; above timeouts.connect, because the peer answers after its own connect."),
    idle: duration()
      .prefault("0")
      .describe(
        "A connection on which nothing moves is closed after this; 0 is never, because databases hold idle connections for days.",
      ),
    halfClosed: duration()
      .prefault("1h")
      .describe(
        "A connection that one side ended and on which nothing moves is closed after this; 0 is never. Without it such pairs pile up.",
      ),
    pingInterval: duration({ min: "1s" })
      .prefault("10s")
      .describe("HTTP/2 PING on tunnels after this long without one."),
    pingTimeout: duration({ min: "1s" })
      .prefault("20s")
      .describe("A tunnel whose PING stays unanswered is given up after this."),
    tunnelIdle: duration({ min: "1s" })
      .prefault("5m")
      .describe("A tunnel without connections is closed after this; a handshake costs more than an idle tunnel."),
    peerBackoff: duration({ min: "10ms" })
      .prefault("250ms")
      .describe(
        "A peer that failed is answered from memory for this long, doubling: its callers fail at once instead of queueing.",
      ),
    peerBackoffMax: duration({ min: "10ms" })
      .prefault("5s")
      .describe("Longest such pause: a peer that is back is used within it."),
  })
  .describe("How long things may take. 0 turns idle and halfClosed off.");

const http = z
  .strictObject({
    headerTimeout: duration({ min: "100ms" })
      .prefault("60s")
      .describe("From the first byte of a connection or request to the end of its header section."),
    idleTimeout: duration({ min: "1s" })
      .prefault("1h")
      .describe("A connection between requests is closed after this; Envoy's default, above most clients' own."),
    lingerTimeout: duration({ min: "10ms" })
      .prefault("1s")
      .describe(
        "A refused client's bytes are taken this long before the connection ends, so that it reads the answer.",
      ),
    lingerBytes: byteSize({ min: "1KiB", max: "16MiB" })
      .prefault("64KiB")
      .describe("And this many of them: a larger refused body ends the connection."),
    maxHeaderSize: byteSize({ min: "8KiB", max: "1MiB" })
      .prefault("60KiB")
      .describe("Header section of a request or an answer; larger ones are refused with 431. Envoy's default."),
    maxConcurrentRequests: z
      .int()
      .min(1)
      .max(10_000)
      .prefault(100)
      .describe("Requests of one connection that wait for answers: pipelined ones, or streams of HTTP/2."),
  })
  .describe("Connections whose requests are judged one by one, because a policy has HTTP rules for their port.");

const limits = z
  .strictObject({
    flows: z.int().min(1).max(10_000_000).prefault(100_000).describe("Open connections of this node."),
    flowsPerPod: z
      .int()
      .min(1)
      .max(10_000_000)
      .prefault(20_000)
      .describe("Open connections of one pod, so that one cannot starve its neighbours."),
    flowsPerTunnel: z
      .int()
      .min(1)
      .max(10_000)
      .prefault(100)
      .describe(
        "Connections in one tunnel; peers that advertise fewer are obeyed. 100 is what peers are known to grant.",
      ),
    streamsPerInboundTunnel: z
      .int()
      .min(100)
      .max(10_000)
      .prefault(200)
      .describe("MAX_CONCURRENT_STREAMS offered to peers; ztunnel offers the same and limits itself to 100."),
    tunnelsPerGroup: z
      .int()
      .min(1)
      .max(10_000)
      .prefault(200)
      .describe(
        "Tunnels from one pod to one peer: with flowsPerTunnel all of a pod's connections may have one destination.",
      ),
    inboundTunnelsPerPod: z
      .int()
      .min(1)
      .max(100_000)
      .prefault(4096)
      .describe("Tunnels into one pod, handshaking ones included: bounds what strangers on 15008 can hold."),
    streamWindow: byteSize({ min: "64KiB", max: "16MiB" })
      .prefault("4MiB")
      .describe(
        "HTTP/2 window of one connection: 160 Mbit/s at a round trip of 100 ms. It is credit; memory only for readers that stand still.",
      ),
    connectionWindow: byteSize({ min: "64KiB", max: "256MiB" })
      .prefault("16MiB")
      .describe(
        "HTTP/2 window of one tunnel; many times streamWindow, so that one slow reader cannot stop the others.",
      ),
    frameSize: byteSize({ min: "16KiB", max: "16383KiB" })
      .prefault("128KiB")
      .describe(
        "Largest HTTP/2 frame taken; larger ones only lengthen the wait of the other connections in the tunnel.",
      ),
    headerListSize: byteSize({ min: "4KiB", max: "1MiB" })
      .prefault("64KiB")
      .describe("Largest header list taken from a peer."),
    bufferPerFlow: byteSize({ min: "16KiB", max: "16MiB" })
      .prefault("256KiB")
      .describe(
        "Bytes buffered for one connection, both directions: 128 KiB each way, where measured throughput stops growing.",
      ),
    memory: byteSize({ min: "16MiB" })
      .prefault("512MiB")
      .describe("Bytes buffered for all connections; above it new ones are refused."),
  })
  .describe("How much there may be of things.");

const tls = z
  .strictObject({
    groups: z
      .string()
      .min(1)
      .prefault("X25519MLKEM768:X25519:P-256")
      .describe(
        "Key exchange groups in order of preference: a hybrid that also withstands quantum computers, then what peers without it have.",
      ),
    ciphers: z
      .string()
      .min(1)
      .prefault("TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256")
      .describe("TLS 1.3 cipher suites in order of preference; the two that ztunnel and FIPS providers share."),
    resumption: z
      .boolean()
      .prefault(false)
      .describe("Resume sessions of outbound tunnels. Off: a resumed session does not show a certificate again."),
    fips: z
      .enum(["report", "required"])
      .prefault("report")
      .describe("required refuses to start unless OpenSSL runs its FIPS provider; report only says so in the log."),
  })
  .describe("TLS of the tunnels: 1.3 only, always mutual.");

/** The schema of `warren node`. */
export const nodeConfigSchema = z
  .strictObject({
    node: z
      .string()
      .min(1)
      .describe(
        "Name of this node, as pods' spec.nodeName has it; in Kubernetes set WARREN_NODE from the downward API.",
      ),
    manifests: path()
      .optional()
      .describe(
        "Folder of Kubernetes manifests that is the state of the mesh, watched for changes. Default: the control plane tells it.",
      ),
    discovery,
    mesh,
    control,
    authority,
    certificates,
    capture,
    cni,
    zds,
    enrolment,
    engine: z
      .enum(["typescript", "native"])
      .prefault("native")
      .describe(
        "What moves the bytes: native in C++ threads of its own; typescript on node:http2 in one thread, which also steps in, with a warning, where the native engine cannot be loaded.",
      ),
    workers: z
      .int()
      .min(1)
      .max(256)
      .optional()
      .describe(
        "Threads of the native engine; the typescript engine has none. Default: one per processor, at most 4, because the node belongs to its pods.",
      ),
    localTraffic: z
      .enum(["mtls", "auto"])
      .prefault("mtls")
      .describe(
        "Traffic between pods of this node: mtls encrypts it like any other; auto may skip TLS where it cannot be seen.",
      ),
    admin: listenAddress()
      .prefault("127.0.0.1:15000")
      .describe(
        "Admin HTTP; must be a loopback address, because it shows state and takes commands without a password.",
      ),
    metrics: listenAddress()
      .prefault(":15020")
      .describe("Prometheus metrics at /metrics, on all addresses for the scraper."),
    readiness: listenAddress()
      .prefault(":15021")
      .describe("Readiness at /healthz/ready, on all addresses for the kubelet."),
    releaseOnExit: z
      .boolean()
      .prefault(false)
      .describe(
        "Take every pod out of the mesh at exit. Off: redirection stays, connections are refused until an agent is back.",
      ),
    log,
    accessLog,
    metricsLimits,
    drain,
    timeouts,
    limits,
    http,
    tls,
  })
  .superRefine((config, context) => {
    const wrong = (path: string[], message: string) => context.addIssue({ code: "custom", path, message });
    if (!isLoopback(config.admin.host)) {
      wrong(["admin"], "is not a loopback address; write 127.0.0.1:15000 or [::1]:15000");
    }
    if (config.timeouts.decision <= config.timeouts.unknownSource) {
      wrong(["timeouts", "decision"], "must be longer than timeouts.unknownSource; raise it or lower that");
    }
    if (config.timeouts.peerBackoffMax < config.timeouts.peerBackoff) {
      wrong(["timeouts", "peerBackoffMax"], "must not be shorter than timeouts.peerBackoff; raise it or lower that");
    }
    if (config.limits.connectionWindow < config.limits.streamWindow) {
      wrong(["limits", "connectionWindow"], "must not be smaller than limits.streamWindow; raise it or lower that");
    }
    if (config.limits.flowsPerPod > config.limits.flows) {
      wrong(["limits", "flowsPerPod"], "must not be above limits.flows; lower it or raise that");
    }
    const { address: authorityAddress, ...authorityFiles } = config.authority;
    if (authorityAddress !== undefined && authorityFiles.rootCertificate === undefined) {
      wrong(["authority", "rootCertificate"], "is missing beside authority.address; name the root to know it by");
    }
    if (authorityAddress === undefined && Object.values(authorityFiles).some((value) => value !== undefined)) {
      wrong(["authority", "address"], "is missing; the other keys of authority mean nothing without it");
    }
    if (config.cni.binDir !== undefined && config.cni.confDir === undefined) {
      wrong(
        ["cni", "confDir"],
        "is missing beside cni.binDir; name the folder of the runtime's network configurations",
      );
    }
    if (config.cni.confDir !== undefined && config.cni.binDir === undefined) {
      wrong(["cni", "binDir"], "is missing beside cni.confDir; name the folder where the runtime looks for plugins");
    }
    if (config.cni.confDir !== undefined && config.cni.socket === undefined) {
      wrong(["cni", "socket"], "is missing beside cni.confDir; the plugin needs a place to ask");
    }
    if (config.zds.socket !== undefined && config.cni.socket !== undefined) {
      wrong(
        ["zds", "socket"],
        "cannot be set with cni.socket: either Istio's CNI agent captures pods, or this one does",
      );
    }
    if (config.enrolment.retryMax < config.enrolment.retry) {
      wrong(["enrolment", "retryMax"], "must not be shorter than enrolment.retry; raise it or lower that");
    }
  });

export type NodeConfig = z.output<typeof nodeConfigSchema>;

function isLoopback(host: string): boolean {
  return host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}
