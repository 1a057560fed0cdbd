import { describe, expect, test } from "vitest";
import { type ClockFacts, clockCheck } from "../../../src/cli/query/cluster-clocks.ts";
import type { TextApi } from "../../../src/cli/query/cluster-logs.ts";
import { clusterChecks } from "../../../src/cli/query/cluster-preflight.ts";
import { type MachineFacts, machineChecks } from "../../../src/cli/query/preflight.ts";
import { ApiError } from "../../../src/control/kubernetes/api.ts";

const good: MachineFacts = {
  platform: "linux",
  root: true,
  machine: {
    release: "6.1",
    aes: "vaes",
    descriptors: { used: 10, limit: 1_000_000 },
    inotifyInstances: { used: 0, limit: 8192 },
    conntrack: undefined,
  },
  kernel: { ebpfMissing: [], nftablesMissing: [] },
  mounts: "none /sys/fs/cgroup cgroup2 rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n",
  takenPorts: [],
  otherMeshes: [],
};

const notFine = (facts: Partial<MachineFacts>) =>
  machineChecks({ ...good, ...facts })
    .filter(({ result }) => result !== "ok")
    .map(({ code, result }) => `${code} ${result}`);

describe("this machine", () => {
  test.each<[string, Partial<MachineFacts>, string[]]>([
    ["is ready", {}, []],
    ["is no Linux", { platform: "darwin" }, ["linux failure"]],
    [
      "is looked at by a user",
      { root: false, kernel: { untried: "only root" } },
      ["root warning", "kernel-features skipped"],
    ],
    ["lacks eBPF", { kernel: { ebpfMissing: ["sk_lookup"], nftablesMissing: [] } }, ["kernel-features warning"]],
    ["can't capture", { kernel: { ebpfMissing: ["x"], nftablesMissing: ["y"] } }, ["kernel-features failure"]],
    ["has no cgroup v2 and no bpffs", { mounts: "" }, ["cgroup2 warning", "bpffs warning"]],
    ["has a port taken", { takenPorts: [15_020] }, ["ports failure"]],
    ["runs another mesh", { otherMeshes: ["ztunnel"] }, ["other-meshes failure"]],
    ["has no AES instructions", { machine: { ...good.machine, aes: "none" } }, ["aes warning"]],
    [
      "allows few inotify instances",
      { machine: { ...good.machine, inotifyInstances: { used: 0, limit: 128 } } },
      ["inotify warning"],
    ],
    [
      "has used up its inotify instances",
      { machine: { ...good.machine, inotifyInstances: { used: 8000, limit: 8192 } } },
      ["inotify warning"],
    ],
    [
      "allows few open files",
      { machine: { ...good.machine, descriptors: { used: 10, limit: 1024 } } },
      ["descriptors warning"],
    ],
  ])("%s", (_what, facts, expected) => {
    expect(notFine(facts)).toEqual(expected);
  });
});

const collections: Readonly<Record<string, readonly object[]>> = {};

function cluster(
  over: Readonly<Record<string, readonly object[] | ApiError>> = {},
  minor = "33",
  allowed = true,
  leases: readonly object[] = [],
): TextApi {
  return {
    call: async ({ path, method }) => {
      if (path === "/version") return { major: "1", minor, gitVersion: `v1.${minor}.0` };
      if (method === "POST") return { status: { allowed } };
      const found = over[path] ?? collections[path] ?? [];
      if (found instanceof ApiError) throw found;
      return { items: found };
    },
    watch: async () => {},
    text: async () => ({ text: JSON.stringify({ items: leases }), date: new Date().toUTCString() }),
  };
}

const findings = async (api: TextApi) =>
  (await clusterChecks(api, "warren-system", new AbortController().signal))
    .filter(({ result }) => result !== "ok")
    .map(({ code, result, detail }) => `${code} ${result}: ${detail}`);

describe("a cluster", () => {
  test("that is ready has no findings", async () => {
    expect(await findings(cluster())).toEqual([]);
  });

  test.each<[TextApi, string]>([
    [cluster({}, "27+"), "kubernetes-version failure: v1.27+.0"],
    [
      cluster({ "/apis/apps/v1/daemonsets": [{ metadata: { name: "ztunnel", namespace: "istio-system" } }] }),
      "other-meshes warning: Istio's ambient mode (DaemonSet istio-system/ztunnel)",
    ],
    [
      cluster({
        "/api/v1/namespaces/kube-system/configmaps": [
          { metadata: { name: "cilium-config" }, data: { "kube-proxy-replacement": "true" } },
        ],
      }),
      "cilium warning: cni-exclusive is not false; bpf-lb-sock-hostns-only is not true",
    ],
    [
      cluster({
        "/api/v1/namespaces": [
          { metadata: { name: "warren-system", labels: { "pod-security.kubernetes.io/enforce": "restricted" } } },
        ],
      }),
      "pod-security failure: it enforces restricted",
    ],
    [
      cluster({ "/api/v1/nodes": [{ metadata: { name: "win", labels: { "kubernetes.io/os": "windows" } } }] }),
      "windows-nodes warning: win",
    ],
    [
      cluster({ "/api/v1/pods": [{ metadata: { name: "p", namespace: "a" }, spec: { hostNetwork: true } }] }),
      "host-network warning: a/p",
    ],
    [
      cluster({
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions": [
          {
            metadata: { name: "x.security.istio.io", labels: { release: "istio" } },
            spec: { group: "security.istio.io" },
          },
        ],
      }),
      "crd-owner warning: x.security.istio.io is istio's",
    ],
    [
      cluster({
        "/api/v1/pods": [
          {
            metadata: { name: "web-1", namespace: "shop", labels: { app: "web" } },
            spec: { nodeName: "n", containers: [] },
            status: { podIPs: [{ ip: "10.0.0.1" }] },
          },
        ],
        "/apis/networking.k8s.io/v1/networkpolicies": [
          {
            metadata: { name: "web-only", namespace: "shop" },
            spec: { podSelector: { matchLabels: { app: "web" } }, ingress: [{ ports: [{ port: 8080 }] }] },
          },
        ],
      }),
      "network-policies warning: shop/web-1: NetworkPolicy web-only lets no tunnel (TCP 15008) pass from peers; allow that port",
    ],
    [
      cluster({}, "33", true, [
        { metadata: { name: "n1" }, spec: { renewTime: new Date(Date.now() + 3_600_000).toISOString() } },
      ]),
      expect.stringMatching(/^clocks failure: n1 is (1h|59m\d+s) ahead of the API server$/) as string,
    ],
    [cluster({ "/api/v1/nodes": new ApiError("forbidden", { status: 403 }) }), "windows-nodes skipped: forbidden"],
  ])("%#: is told what an installation would meet", async (api, expected) => {
    expect(await findings(api)).toEqual([expected]);
  });

  const agreeing: ClockFacts = {
    aheadMs: 300,
    uncertainMs: 600,
    leases: [{ node: "n", aheadMs: -9000, durationMs: 40_000 }],
  };
  const lease = (aheadMs: number) => [{ node: "n", aheadMs, durationMs: 40_000 }];
  test.each<[string, Partial<ClockFacts>, string, RegExp]>([
    ["agree", {}, "ok", /^1 node$/],
    ["may agree", { aheadMs: 3000, uncertainMs: 2000 }, "ok", /./],
    ["agree with a slow kubelet", { leases: lease(-45_000) }, "ok", /./],
    ["here is ahead", { aheadMs: 9000 }, "warning", /^this machine is 9s ahead of the API server$/],
    ["here is behind", { aheadMs: -90_000 }, "failure", /^this machine is 1m30s behind the API server$/],
    ["of a node is ahead", { leases: lease(10_000) }, "warning", /^n is 10s ahead of the API server$/],
    ["of a node is behind", { leases: lease(-300_000) }, "warning", /^n is behind, or has not been heard for 5m$/],
  ])("clocks: one that %s is %s", (_what, facts, result, detail) => {
    const check = clockCheck({ code: "clocks", group: "", name: "" }, { ...agreeing, ...facts });
    expect(check.result).toBe(result);
    expect(check.detail).toMatch(detail);
  });

  test("in which you may do nothing says what is missing", async () => {
    expect(await findings(cluster({}, "33", false))).toEqual([
      expect.stringMatching(/^rights failure: create namespaces; .* and 4 more$/),
    ]);
  });

  test("that can't be reached rejects", async () => {
    const api: TextApi = {
      call: () => Promise.reject(new ApiError("nobody", { status: 0 })),
      text: () => Promise.reject(new ApiError("nobody", { status: 0 })),
      watch: async () => {},
    };
    await expect(clusterChecks(api, "warren-system", new AbortController().signal)).rejects.toThrow("nobody");
  });
});
