/**
 * What the agent does about a pod that the container runtime is about to start: waits until the mesh says whether the pod is wanted,
 * and if it is, until the pod is captured and probed. Discovery decides, never the plugin. A pod's addresses are known here before the
 * cluster knows them: the runtime tells them when its own plugins have made the pod's network.
 */
import { abortable } from "../../lib/abort.ts";
import { formatDuration } from "../../lib/duration.ts";
import { MeshError } from "../../lib/errors.ts";
import type { MeshSource, MeshView } from "../../model/mesh.ts";
import { podWorkloadUid } from "../../model/workload.ts";
import type { AnnouncedSandbox } from "../enrolment.ts";
import type { CniRequest } from "./protocol.ts";

export interface AdmissionDeps {
  readonly mesh: Pick<MeshSource, "view" | "onChange">;
  readonly enrolment: {
    announce(sandbox: AnnouncedSandbox): void;
    withdraw(uid: string, container: string): void;
    /** Resolves when the pod is captured and probed, or not wanted any more; rejects with what stands in the way. */
    captured(uid: string, signal: AbortSignal): Promise<void>;
  };
  readonly ready: () => boolean;
  readonly metrics: { sandboxAsked(command: string, result: string): void };
}

export interface AdmissionOptions {
  readonly node: string;
  /** How long one question may take: for the mesh to know the pod and for its capture together. */
  readonly waitMs: number;
}

/** What the mesh says of a pod that is being started. */
export type Standing =
  | { readonly kind: "wanted"; readonly uid: string }
  | { readonly kind: "unwanted" }
  | { readonly kind: "unknown" };

/**
 * A pod is known by its uid if the mesh wants it. One that it does not want is known by its name alone, so an older pod of that name
 * must not speak for it: that one has had an address, and it is not among those that the new one was just given.
 */
export function standingOf(
  view: Pick<MeshView, "localPods" | "workload" | "settings">,
  node: string,
  { pod, addresses }: Pick<CniRequest, "pod" | "addresses">,
): Standing {
  for (const local of view.localPods(node)) {
    const same = pod.uid === "" ? local.name === pod.name && local.namespace === pod.namespace : local.uid === pod.uid;
    if (same) return { kind: "wanted", uid: local.uid };
  }
  const workload = view.workload(podWorkloadUid(view.settings.cluster, pod.namespace, pod.name));
  if (workload === undefined || workload.node !== node || workload.tunnel !== "none") return { kind: "unknown" };
  const ours = workload.addresses.length === 0 || workload.addresses.some((address) => addresses.includes(address));
  return ours ? { kind: "unwanted" } : { kind: "unknown" };
}

export class Admission {
  readonly #deps: AdmissionDeps;
  readonly #options: AdmissionOptions;

  constructor(deps: AdmissionDeps, options: AdmissionOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** Resolves when the request is granted. */
  async answer(request: CniRequest, signal: AbortSignal): Promise<void> {
    const { metrics } = this.#deps;
    const late = new AbortController();
    const timer = setTimeout(
      () => late.abort(new MeshError("MESH_ENROLMENT_TIMEOUT", "not in time")),
      this.#options.waitMs,
    );
    try {
      await this.#grant(request, AbortSignal.any([signal, late.signal]));
      metrics.sandboxAsked(request.command, "ok");
    } catch (error) {
      metrics.sandboxAsked(request.command, error instanceof MeshError ? error.code : "MESH_INTERNAL");
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async #grant(request: CniRequest, signal: AbortSignal): Promise<void> {
    const { enrolment, mesh, ready } = this.#deps;
    switch (request.command) {
      case "add":
        return this.#add(request, signal);
      case "check": {
        const standing = standingOf(mesh.view, this.#options.node, request);
        return standing.kind === "wanted" ? enrolment.captured(standing.uid, signal) : undefined;
      }
      case "del":
        return enrolment.withdraw(request.pod.uid, request.container);
      case "status":
        if (ready()) return;
        throw new MeshError("MESH_CNI_NOT_READY", "the mesh agent of this node is not ready; see its /healthz/ready");
    }
  }

  async #add(request: CniRequest, signal: AbortSignal): Promise<void> {
    const { enrolment } = this.#deps;
    const { container, netns, addresses, pod } = request;
    if (addresses.length === 0) {
      const name = `pod ${pod.namespace}/${pod.name}`;
      throw new MeshError("MESH_CNI_NO_ADDRESS", `the plugins before gave ${name} no address to know its netns by`);
    }
    const standing = await this.#standing(request, signal);
    const uid = standing.kind === "wanted" ? standing.uid : pod.uid;
    // Of a pod that is not wanted, too: a label may change that later, and then its netns is known.
    if (uid !== "") enrolment.announce({ uid, container, netnsPath: netns, addresses });
    // The sandbox stays announced when this fails: the runtime says itself when it takes it down (DEL), and with a plugin that fails open
    // the pod runs in it, and is captured as soon as that is possible.
    if (standing.kind === "wanted") await enrolment.captured(uid, signal);
  }

  /** Waits until the mesh knows the pod. */
  async #standing(request: CniRequest, signal: AbortSignal): Promise<Standing> {
    const { mesh } = this.#deps;
    const { node, waitMs } = this.#options;
    const { promise, resolve } = Promise.withResolvers<Standing>();
    const look = () => {
      const standing = standingOf(mesh.view, node, request);
      if (standing.kind !== "unknown") resolve(standing);
    };
    const unsubscribe = mesh.onChange(look);
    try {
      look();
      return await abortable(promise, signal);
    } catch (error) {
      if (!(error instanceof MeshError && error.code === "MESH_ENROLMENT_TIMEOUT")) throw error;
      const { namespace, name } = request.pod;
      throw new MeshError(
        "MESH_CNI_POD_UNKNOWN",
        `the mesh has not said within ${formatDuration(waitMs)} whether pod ${namespace}/${name} is part of it; is the control plane away?`,
        { cause: error },
      );
    } finally {
      unsubscribe();
    }
  }
}
