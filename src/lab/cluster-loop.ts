/**
 * Brings what the cluster's controllers decide to where it takes effect: the rendered folder, the pods' hosts files, the nodes'
 * service rules, the kubelets. It runs after every change of the store, once for all changes of one turn of the event loop.
 */
import { closeSync, constants, ftruncateSync, mkdirSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../lib/errors.ts";
import { Controllers } from "./cluster/controllers.ts";
import { hostsFile } from "./cluster/hosts-file.ts";
import { RenderedFolder } from "./cluster/rendered-folder.ts";
import { serviceRules } from "./cluster/service-rules.ts";
import { serviceTargets } from "./cluster/service-targets.ts";
import type { ObjectStore } from "./cluster/store.ts";
import type { Kubelet } from "./kubelet/kubelet.ts";

export interface ClusterLoopDeps {
  readonly store: ObjectStore;
  readonly kubelets: readonly Kubelet[];
  readonly event: (line: string) => void;
}

export class ClusterLoop {
  readonly rendered: RenderedFolder;
  readonly #deps: ClusterLoopDeps;
  readonly #controllers: Controllers;
  readonly #hostsFolder: string;
  readonly #hosts = new Map<string, string>();
  readonly #unsubscribe: () => void;
  #scheduled: NodeJS.Immediate | undefined;
  #rules = "";
  #applying: Promise<void> | undefined;
  #appliedRules = "";
  #closed = false;

  constructor(deps: ClusterLoopDeps, options: { readonly folder: string }) {
    this.#deps = deps;
    const nodes = deps.kubelets.map((kubelet) => kubelet.node.name);
    this.#controllers = new Controllers(deps, { nodes });
    this.rendered = new RenderedFolder(join(options.folder, "cluster"), join(options.folder, "drafts"));
    this.#hostsFolder = join(options.folder, "hosts");
    mkdirSync(this.#hostsFolder, { recursive: true });
    this.#unsubscribe = deps.store.onChange(() => {
      this.#scheduled ??= setImmediate(() => this.#run());
    });
  }

  /** The hosts file that a namespace's pods share. */
  hostsPath(namespace: string): string {
    return join(this.#hostsFolder, namespace);
  }

  /** Resolves when nothing that was decided waits to take effect. */
  async settled(): Promise<void> {
    while (!this.#closed && (this.#scheduled !== undefined || this.#applying !== undefined))
      await (this.#applying ?? new Promise(setImmediate));
  }

  close(): void {
    this.#closed = true;
    this.#unsubscribe();
    if (this.#scheduled !== undefined) clearImmediate(this.#scheduled);
    for (const kubelet of this.#deps.kubelets) kubelet.close();
  }

  #run(): void {
    const { store, kubelets, event } = this.#deps;
    try {
      this.#controllers.reconcile();
      // Changes that the controllers made are covered by this run.
      if (this.#scheduled !== undefined) clearImmediate(this.#scheduled);
      this.#scheduled = undefined;
      this.rendered.write(store.all());
      this.#writeHosts();
      this.#applyRules();
      for (const kubelet of kubelets) kubelet.sync();
    } catch (error) {
      this.#scheduled = undefined;
      event(messageOf(error));
    }
  }

  #writeHosts(): void {
    const { store } = this.#deps;
    const objects = {
      pods: store.list("Pod"),
      services: store.list("Service"),
      endpointSlices: store.list("EndpointSlice"),
    };
    for (const namespace of new Set(objects.pods.map((pod) => pod.metadata.namespace ?? ""))) {
      const text = hostsFile(namespace, objects);
      if (this.#hosts.get(namespace) === text) continue;
      overwrite(this.hostsPath(namespace), text);
      this.#hosts.set(namespace, text);
    }
  }

  /** One transaction of nft at a time per node, for the newest state. */
  #applyRules(): void {
    const { store } = this.#deps;
    this.#rules = serviceRules(serviceTargets(store.list("Service"), store.list("EndpointSlice")));
    if (this.#applying === undefined && this.#rules !== this.#appliedRules)
      this.#applying = this.#applyUntilCurrent().finally(() => {
        this.#applying = undefined;
      });
  }

  async #applyUntilCurrent(): Promise<void> {
    while (this.#rules !== this.#appliedRules && !this.#closed) {
      const rules = this.#rules;
      await Promise.all(
        this.#deps.kubelets.map(async ({ node }) => {
          const env = { PATH: process.env["PATH"] ?? "" };
          const result = await node.run(["nft", "-f", "-"], { stdin: rules, env }).catch((error: unknown) => ({
            code: 1,
            stderr: messageOf(error),
          }));
          if (result.code !== 0 && !this.#closed)
            this.#deps.event(
              `${node.name}: nft refused the service rules: ${result.stderr.trim()}; is nftables there?`,
            );
        }),
      );
      this.#appliedRules = rules;
    }
  }
}

/** In place, because pods hold the file itself by a bind mount; never empty on the way, because they may read it meanwhile. */
function overwrite(path: string, text: string): void {
  const bytes = Buffer.from(text);
  const file = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o644);
  try {
    writeSync(file, bytes, 0, bytes.length, 0);
    ftruncateSync(file, bytes.length);
  } finally {
    closeSync(file);
  }
}
