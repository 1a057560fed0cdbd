/** Runs on a node what the cluster placed there, and reports what became of it. */
import { messageOf } from "../../lib/errors.ts";
import { isGoing } from "../cluster/deployments.ts";
import type { Pod } from "../cluster/objects.ts";
import { PodAddresses } from "../cluster/placement.ts";
import type { ObjectStore } from "../cluster/store.ts";
import type { LabNode } from "../node.ts";
import { type PodFiles, PodRunner } from "./pod-runner.ts";
import { RuntimeSocket } from "./runtime-socket.ts";

export interface KubeletDeps {
  readonly node: LabNode;
  readonly store: ObjectStore;
  readonly files: (pod: Pod) => PodFiles;
  readonly event: (line: string) => void;
}

/** What a kubelet does with one pod. */
interface Running {
  readonly runner: PodRunner;
  readonly host: number;
  readonly ready: Promise<void>;
  stopping: boolean;
}

export class Kubelet {
  readonly node: LabNode;
  readonly #deps: KubeletDeps;
  readonly #path: string;
  readonly #addresses: PodAddresses;
  readonly #pods = new Map<string, Running>();
  #retry: NodeJS.Timeout | undefined;
  readonly #runtime: RuntimeSocket;
  #closed = false;

  /** `path`: directories that containers find programs in. */
  constructor(deps: KubeletDeps, options: { readonly path: string }) {
    this.node = deps.node;
    this.#deps = deps;
    this.#path = options.path;
    this.#addresses = new PodAddresses(deps.node.index);
    this.#runtime = new RuntimeSocket(() =>
      [...this.#pods.values()].flatMap(({ runner }) => runner.runtimeSandbox ?? []),
    );
  }

  /** Opens the container runtime's socket. */
  listen(): Promise<void> {
    return this.#runtime.listen(this.node.paths.criSocket);
  }

  runner(uid: string): PodRunner | undefined {
    return this.#pods.get(uid)?.runner;
  }

  /** Starts pods that are new on this node and stops those that are to go. */
  sync(): void {
    if (this.#closed) return;
    for (const pod of this.#deps.store.list("Pod")) {
      if (pod.spec.nodeName !== this.node.name) continue;
      const running = this.#pods.get(pod.metadata.uid ?? "");
      if (running === undefined && isGoing(pod)) this.#forget(pod);
      else if (running === undefined) this.#start(pod);
      else if (isGoing(pod) && !running.stopping) void this.#stop(pod, running);
    }
  }

  /** The lab goes: nothing is started any more. Processes go with the lab's cgroup. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#runtime.close();
    for (const { runner } of this.#pods.values()) runner.close();
  }

  #start(pod: Pod): void {
    const { store, node, files } = this.#deps;
    const { uid = "", namespace = "", name } = pod.metadata;
    const event = (line: string) => this.#deps.event(`pod ${namespace}/${name}: ${line}`);
    const address = this.#addresses.allocate();
    if (address === undefined) {
      event(`${node.name} has no free pod address left`);
      this.#retryLater();
      return;
    }
    const current = () => store.get("Pod", namespace, name) ?? pod;
    const runner = new PodRunner(
      {
        node,
        current,
        event,
        configMap: (of) => store.get("ConfigMap", namespace, of),
        onStatus: (status) => {
          const now = store.get("Pod", namespace, name);
          // Reports that come late must neither bring a pod back nor touch a namesake.
          if (now?.metadata.uid === uid && JSON.stringify(now.status) !== JSON.stringify(status))
            store.put({ ...now, status });
        },
      },
      { addresses: address, files: files(pod), path: this.#path },
    );
    const ready = runner.start().catch(async (error: unknown) => {
      event(messageOf(error));
      await runner.stop(0);
      this.#addresses.release(address.host);
      if (this.#pods.get(uid)?.stopping !== true) {
        this.#pods.delete(uid);
        this.#retryLater();
      }
    });
    this.#pods.set(uid, { runner, host: address.host, ready, stopping: false });
  }

  async #stop(pod: Pod, running: Running): Promise<void> {
    running.stopping = true;
    const stopping = running.runner.stop(pod.spec.terminationGracePeriodSeconds * 1000);
    await Promise.all([running.ready, stopping]).catch((error: unknown) =>
      this.#deps.event(`pod ${pod.metadata.namespace}/${pod.metadata.name}: ${messageOf(error)}`),
    );
    this.#addresses.release(running.host);
    this.#pods.delete(pod.metadata.uid ?? "");
    this.#forget(pod);
  }

  #forget(pod: Pod): void {
    const { namespace = "", name, uid } = pod.metadata;
    const { store } = this.#deps;
    if (store.get("Pod", namespace, name)?.metadata.uid === uid) store.delete("Pod", namespace, name);
  }

  #retryLater(): void {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.sync(), 1000);
    this.#retry.unref();
  }
}
