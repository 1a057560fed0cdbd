/**
 * Every knob of the node agent, with its default and the reason for it. The same schema makes `warren node --help` and
 * docs/configuration.md. Nothing else in the agent holds a default.
 */
import { z } from "zod";
import { duration, listenAddress, path } from "../lib/config-schema.ts";
import { cni } from "./cni/config.ts";
import { authority, certificates, control, discovery, mesh } from "./config/control.ts";
import { otlp } from "./config/otlp.ts";
import { accessLog, log, metricsLimits } from "./config/telemetry.ts";
import { drain, engineLimits, http, limits, timeouts, tls } from "./config/traffic.ts";
import { zds } from "./zds/config.ts";

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
    otlp,
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
    const { memory, memoryPerPod, memoryPerTunnel } = engineLimits(config.limits);
    if (memoryPerPod > memory) {
      wrong(["limits", "memoryPerPod"], "must not be above limits.memory; lower it or raise that");
    }
    if (memoryPerTunnel > memoryPerPod) {
      wrong(["limits", "memoryPerTunnel"], "must not be above limits.memoryPerPod; lower it or raise that");
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
