import { describe, expect, it } from "vitest";
import { MeshError } from "../../../src/lib/errors.ts";
import type { MeshChange, MeshView } from "../../../src/model/mesh.ts";
import type { LocalPod, Workload } from "../../../src/model/workload.ts";
import { Admission, standingOf } from "../../../src/node/cni/admission.ts";
import type { CniRequest } from "../../../src/node/cni/protocol.ts";
import type { AnnouncedSandbox } from "../../../src/node/enrolment.ts";
import { pod } from "../fakes.ts";

const request: CniRequest = {
  version: 1,
  command: "add",
  container: "c1",
  netns: "/run/netns/a",
  interface: "eth0",
  pod: { uid: "uid-web-0", name: "web-0", namespace: "production" },
  addresses: ["10.244.1.5"],
};

type Known = Partial<Pick<Workload, "tunnel" | "addresses" | "node">>;

function viewOf(pods: readonly LocalPod[], workload?: Known): Pick<MeshView, "localPods" | "workload" | "settings"> {
  const known = { node: "node-1", tunnel: "none", addresses: [], ...workload } as unknown as Workload;
  return {
    settings: { cluster: "Kubernetes" } as MeshView["settings"],
    localPods: (node) => (node === "node-1" ? pods : []),
    workload: (uid) => (workload !== undefined && uid === "Kubernetes//Pod/production/web-0" ? known : undefined),
  };
}

describe("what the mesh says of a pod that starts", () => {
  const local = pod("web-0", { addresses: [] });
  it.each<[string, readonly LocalPod[], Known | undefined, Partial<CniRequest["pod"]>, string]>([
    ["wants it, by its uid", [local], undefined, {}, "wanted"],
    ["wants it, by its name where the runtime tells no uid", [local], undefined, { uid: "" }, "wanted"],
    ["wants an older one of its name", [local], { tunnel: "hbone" }, { uid: "uid-new" }, "unknown"],
    ["does not want it", [], {}, {}, "unwanted"],
    ["does not want it, and knows its address already", [], { addresses: ["10.244.1.5"] }, {}, "unwanted"],
    ["did not want an older one of its name", [], { addresses: ["10.244.1.99"] }, {}, "unknown"],
    ["knows one of its name on another node", [], { node: "node-2" }, {}, "unknown"],
    ["will want it, but has not told this node yet", [], { tunnel: "hbone" }, {}, "unknown"],
    ["knows nothing", [], undefined, {}, "unknown"],
  ])("%s", (_, pods, workload, over, expected) => {
    const asked = { ...request, pod: { ...request.pod, ...over } };
    expect(standingOf(viewOf(pods, workload), "node-1", asked).kind).toBe(expected);
  });
});

class Stage {
  readonly journal: string[] = [];
  readonly results: string[] = [];
  readonly listeners = new Set<(change: MeshChange) => void>();
  view = viewOf([]) as MeshView;
  ready = true;
  captured: (signal: AbortSignal) => Promise<void> = async () => {};
  readonly admission: Admission;

  constructor(waitMs = 10_000) {
    const current = () => this.view;
    this.admission = new Admission(
      {
        mesh: {
          get view() {
            return current();
          },
          onChange: (listener) => {
            this.listeners.add(listener);
            return () => this.listeners.delete(listener);
          },
        },
        enrolment: {
          announce: ({ uid, container, netnsPath }: AnnouncedSandbox) =>
            void this.journal.push(`announce ${uid} ${container} ${netnsPath}`),
          withdraw: (uid, container) => void this.journal.push(`withdraw ${uid} ${container}`),
          captured: (uid, signal) => {
            this.journal.push(`captured ${uid}`);
            return this.captured(signal);
          },
        },
        ready: () => this.ready,
        metrics: { sandboxAsked: (command, result) => void this.results.push(`${command} ${result}`) },
      },
      { node: "node-1", waitMs },
    );
  }

  learn(view: Pick<MeshView, "localPods" | "workload" | "settings">): void {
    this.view = view as MeshView;
    for (const listener of this.listeners) listener({} as MeshChange);
  }

  ask(over: Partial<CniRequest> = {}): Promise<void> {
    return this.admission.answer({ ...request, ...over }, new AbortController().signal);
  }
}

describe("admission", () => {
  it("lets a pod start that is wanted when it is captured", async () => {
    const stage = new Stage();
    stage.learn(viewOf([pod("web-0")]));
    await stage.ask();
    expect(stage.journal).toEqual(["announce uid-web-0 c1 /run/netns/a", "captured uid-web-0"]);
    expect(stage.results).toEqual(["add ok"]);
    expect(stage.listeners.size).toBe(0);
  });

  it("lets a pod start at once that is not wanted, and remembers where it is", async () => {
    const stage = new Stage();
    stage.learn(viewOf([], {}));
    await stage.ask();
    expect(stage.journal).toEqual(["announce uid-web-0 c1 /run/netns/a"]);
  });

  it("waits until the mesh has heard of the pod", async () => {
    const stage = new Stage();
    const asked = stage.ask();
    stage.learn(viewOf([pod("other")]));
    expect(stage.journal).toEqual([]);
    stage.learn(viewOf([pod("web-0")]));
    await asked;
    expect(stage.journal.at(-1)).toBe("captured uid-web-0");
  });

  it("says so when the mesh does not hear of it in time", async () => {
    const stage = new Stage(20);
    await expect(stage.ask()).rejects.toMatchObject({
      code: "MESH_CNI_POD_UNKNOWN",
      message: expect.stringContaining("is the control plane away?") as string,
    });
    expect(stage.results).toEqual(["add MESH_CNI_POD_UNKNOWN"]);
    expect(stage.listeners.size).toBe(0);
  });

  it("goes on with a pod that cannot be captured until the runtime takes it down: it may have started all the same", async () => {
    const stage = new Stage();
    stage.learn(viewOf([pod("web-0")]));
    stage.captured = () => Promise.reject(new MeshError("MESH_WRONG_NETNS", "it is another pod's"));
    await expect(stage.ask()).rejects.toMatchObject({ code: "MESH_WRONG_NETNS" });
    expect(stage.journal.at(-1)).toBe("captured uid-web-0");
    await stage.ask({ command: "del" });
    expect(stage.journal.at(-1)).toBe("withdraw uid-web-0 c1");
  });

  it("gives a capture no longer than the question may take", async () => {
    const stage = new Stage(20);
    stage.learn(viewOf([pod("web-0")]));
    stage.captured = (signal) =>
      new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
    await expect(stage.ask()).rejects.toMatchObject({ code: "MESH_ENROLMENT_TIMEOUT" });
  });

  it("refuses a pod without an address: nothing would tell whose netns it is", async () => {
    const stage = new Stage();
    stage.learn(viewOf([pod("web-0")]));
    await expect(stage.ask({ addresses: [] })).rejects.toMatchObject({ code: "MESH_CNI_NO_ADDRESS" });
  });

  it("checks what is wanted, forgets what goes, and is available when the agent is ready", async () => {
    const stage = new Stage();
    await stage.ask({ command: "check" });
    stage.learn(viewOf([pod("web-0")]));
    await stage.ask({ command: "check" });
    await stage.ask({ command: "del" });
    expect(stage.journal).toEqual(["captured uid-web-0", "withdraw uid-web-0 c1"]);
    await stage.ask({ command: "status" });
    stage.ready = false;
    await expect(stage.ask({ command: "status" })).rejects.toMatchObject({ code: "MESH_CNI_NOT_READY" });
  });
});
