/** The cluster as what the control plane stands on. */
import type { Registry } from "prom-client";
import { backoffDelay } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { pause } from "../../lib/pause.ts";
import type { ControlPlatform, ServedAuthority } from "../platform.ts";
import { ApiError, type KubernetesApi } from "./api.ts";
import { registerKubernetesMetrics } from "./kubernetes-metrics.ts";
import type { KubernetesSource } from "./kubernetes-source.ts";
import { Leader, type LeaderOptions, leaderDefaults } from "./leader.ts";
import { NodeReview } from "./node-review.ts";
import { OperatorReview } from "./operator-review.ts";
import { PlugInSecret } from "./plug-in-secret.ts";
import { type ReflectorLog, reflectorDefaults } from "./reflector.ts";
import { reviewCacheDefaults } from "./review-cache.ts";
import { RootPublisher, rootPublisherDefaults } from "./root-publisher.ts";
import { SecretVault } from "./secret-vault.ts";
import { StatusWriter, statusWriterDefaults } from "./status-writer.ts";

export interface KubernetesPlatformDeps {
  readonly api: KubernetesApi;
  readonly source: KubernetesSource;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: ReflectorLog;
}

export interface KubernetesPlatformOptions {
  readonly namespace: string;
  readonly audiences: readonly string[];
  readonly trustedAccounts: readonly string[];
  readonly plugInSecret: string;
  /** Of this replica. */
  readonly identity: string;
  readonly leader?: Partial<LeaderOptions>;
}

export const authoritySecret = "warren-ca";
const callMs = 10_000;

export class KubernetesPlatform implements ControlPlatform {
  readonly vault: SecretVault;
  readonly nodes: NodeReview;
  readonly operators: OperatorReview;
  readonly #deps: KubernetesPlatformDeps;
  readonly #options: KubernetesPlatformOptions;
  readonly #plugIn: PlugInSecret | undefined;
  #plugInFound = false;
  #leader: Leader | undefined;
  #stopServing: () => Promise<void> = () => Promise.resolve();

  constructor(deps: KubernetesPlatformDeps, options: KubernetesPlatformOptions) {
    this.#deps = deps;
    this.#options = options;
    const { namespace, audiences, trustedAccounts, plugInSecret } = options;
    this.vault = new SecretVault(deps, { namespace, name: authoritySecret, timeoutMs: callMs });
    const cache = reviewCacheDefaults;
    this.nodes = new NodeReview(deps, { audiences, trustedAccounts, timeoutMs: callMs, cache });
    this.operators = new OperatorReview(deps, { timeoutMs: callMs, cache });
    const named = { namespace, name: plugInSecret, timeoutMs: callMs };
    this.#plugIn = plugInSecret === "" ? undefined : new PlugInSecret(deps, named);
  }

  /** Waits for the API server; a refusal is an error at once, for waiting would not change it. */
  async start(signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#deps;
    for (let failures = 1; ; failures += 1) {
      try {
        this.#plugInFound = (await this.#plugIn?.exists()) === true;
        return;
      } catch (error) {
        if (!(error instanceof ApiError) || (error.status !== 0 && error.status < 500 && error.status !== 429))
          throw error;
        log.warn({ attempts: failures }, `waiting for the Kubernetes API: ${messageOf(error)}`);
        await pause(clock, backoffDelay(failures, reflectorDefaults.backoff, random()), signal);
        signal.throwIfAborted();
      }
    }
  }

  plugIn(): PlugInSecret | undefined {
    return this.#plugInFound ? this.#plugIn : undefined;
  }

  serve(authority: ServedAuthority): void {
    const { source, log } = this.#deps;
    const { namespace, identity, trustedAccounts } = this.#options;
    for (const account of trustedAccounts) {
      const [inNamespace = "", name = ""] = account.split("/");
      if (source.hasServiceAccount(inNamespace, name)) continue;
      // Whoever misspells it here sees agents ask in vain for ever (the most common trap of this kind of set-up).
      log.warn({ account }, "kubernetes.trustedAccounts names an account that does not exist: agents will be refused");
    }
    const publisher = new RootPublisher(
      { ...this.#deps, roots: () => authority.roots },
      { ...rootPublisherDefaults, namespace },
    );
    const status = new StatusWriter(
      { ...this.#deps, policies: source.policies },
      { ...statusWriterDefaults, identity },
    );
    const forget = authority.onChange(() => publisher.changed());
    const leader = new Leader(
      {
        ...this.#deps,
        onChange: (leading) => {
          if (leading) {
            publisher.start();
            status.start();
          } else {
            void publisher.stop();
            void status.stop();
          }
        },
      },
      { ...leaderDefaults, namespace, identity, ...this.#options.leader },
    );
    this.#leader = leader;
    leader.start();
    this.#stopServing = async () => {
      forget();
      await leader.stop();
      await Promise.all([publisher.stop(), status.stop()]);
    };
  }

  register(registry: Registry): void {
    registerKubernetesMetrics(registry, {
      kinds: () => this.#deps.source.kinds(),
      problems: () => this.#deps.source.problems().length,
      leading: () => this.#leader?.leading ?? false,
    });
  }

  describe(): object {
    return {
      kind: "kubernetes",
      leading: this.#leader?.leading ?? false,
      plugIn: this.plugIn()?.where,
      watches: Object.fromEntries(this.#deps.source.kinds()),
      problems: this.#deps.source.problems(),
    };
  }

  async stop(): Promise<void> {
    const stopServing = this.#stopServing;
    this.#stopServing = () => Promise.resolve();
    await stopServing();
  }
}
