/** One container of a pod: starts its program, keeps its output, probes it and starts it again as its pod's policy says. */
import type { ChildProcess } from "node:child_process";
import { appendFileSync, closeSync, openSync } from "node:fs";
import { messageOf } from "../../lib/errors.ts";
import type { Container, Pod, Probe } from "../cluster/objects.ts";
import type { ContainerReport, ContainerState } from "../cluster/pod-status.ts";
import type { Cgroup } from "../machine/cgroup.ts";
import { launch } from "../machine/launch.ts";
import type { Sandbox } from "../machine/sandbox.ts";
import type { ContainerCommand } from "./container-command.ts";
import { ProbeLoop } from "./probe-loop.ts";
import { restartDelayMs, shouldRestart } from "./restart-policy.ts";

export interface ContainerDeps {
  readonly sandbox: Sandbox;
  readonly cgroup: Cgroup;
  readonly command: () => ContainerCommand;
  /** One attempt of a probe. */
  readonly probe: (probe: Probe, container: Container) => Promise<boolean>;
  readonly onChange: () => void;
  readonly event: (line: string) => void;
}

export interface ContainerOptions {
  readonly container: Container;
  readonly restartPolicy: Pod["spec"]["restartPolicy"];
  readonly logPath: string;
}

export class ContainerRunner {
  readonly #deps: ContainerDeps;
  readonly #options: ContainerOptions;
  readonly #stopped = Promise.withResolvers<void>();
  #state: ContainerState = { kind: "waiting", reason: "ContainerCreating" };
  #child: ChildProcess | undefined;
  #restarts = 0;
  #startedAt = 0;
  #backoff = 0;
  #timer: NodeJS.Timeout | undefined;
  #stopping = false;
  #probes: ProbeLoop[] = [];
  #started = false;
  #probedReady = false;
  #probeSuccesses = 0;

  constructor(deps: ContainerDeps, options: ContainerOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  get report(): ContainerReport {
    return {
      name: this.#options.container.name,
      state: this.#state,
      ready: this.#state.kind === "running" && this.#started && this.#probedReady,
      restarts: this.#restarts,
    };
  }

  get exitCode(): number | undefined {
    return this.#state.kind === "terminated" ? this.#state.exitCode : undefined;
  }

  get probeSuccesses(): number {
    return this.#probeSuccesses;
  }

  start(): void {
    if (this.#stopping) return;
    try {
      this.#launch();
    } catch (error) {
      // A reference that cannot be resolved now may be later: the kubelet tries again, too.
      this.#fail(error);
    }
    this.#deps.onChange();
  }

  #launch(): void {
    const { sandbox, cgroup, command } = this.#deps;
    const { container, logPath } = this.#options;
    const { argv, env } = command();
    const log = openSync(logPath, "a");
    try {
      const child = launch(sandbox.place(cgroup), argv, { stdio: ["ignore", log, log], env, detached: true });
      child.once("exit", (code, signal) => this.#onExit(code ?? (signal === "SIGKILL" ? 137 : 143)));
      child.once("error", (error) => this.#fail(error));
      child.unref();
      this.#child = child;
      this.#startedAt = Date.now();
      this.#state = { kind: "running", since: new Date() };
      this.#startProbes(container);
    } finally {
      closeSync(log);
    }
  }

  /** The program did not even begin. */
  #fail(error: unknown): void {
    try {
      appendFileSync(this.#options.logPath, `${messageOf(error)}\n`);
    } catch {
      // The lab's folder is gone, and with it whoever would read this.
    }
    this.#onExit(128);
  }

  /** Starts and probes nothing any more. */
  close(): void {
    this.#stopping = true;
    clearTimeout(this.#timer);
    this.#stopProbes();
  }

  /** SIGTERM for the container's first process, SIGKILL for all of them after the grace period. */
  async stop(graceMs: number): Promise<void> {
    this.close();
    if (this.#child !== undefined) {
      this.#child.kill("SIGTERM");
      const timer = setTimeout(() => this.#deps.cgroup.kill(), graceMs);
      await this.#stopped.promise;
      clearTimeout(timer);
    }
  }

  #onExit(exitCode: number): void {
    this.#child = undefined;
    this.#stopProbes();
    // Whatever else the container runs ends with its first process, as in a pid namespace.
    this.#deps.cgroup.kill();
    this.#state = { kind: "terminated", exitCode };
    const { container, restartPolicy } = this.#options;
    if (this.#stopping) this.#stopped.resolve();
    else if (shouldRestart(restartPolicy, exitCode)) {
      const delay = restartDelayMs(this.#backoff, Date.now() - this.#startedAt);
      this.#backoff = delay.failures;
      this.#deps.event(`container ${container.name} ended with code ${exitCode}; again in ${delay.waitMs} ms`);
      this.#state = { kind: "waiting", reason: "CrashLoopBackOff" };
      this.#timer = setTimeout(() => {
        this.#restarts++;
        this.start();
      }, delay.waitMs);
      this.#timer.unref();
    }
    this.#deps.onChange();
  }

  #startProbes(container: Container): void {
    const { readinessProbe, livenessProbe, startupProbe } = container;
    this.#started = startupProbe === undefined;
    this.#probedReady = readinessProbe === undefined;
    const loop = (probe: Probe, kind: "readiness" | "liveness" | "startup", onVerdict: (ok: boolean) => void) => {
      const ask = async () => {
        const ok = await this.#deps.probe(probe, container);
        if (ok) this.#probeSuccesses++;
        return ok;
      };
      const made = new ProbeLoop({ ask, onVerdict }, { probe, kind });
      this.#probes.push(made);
      made.start();
    };
    const begin = () => {
      if (readinessProbe !== undefined)
        loop(readinessProbe, "readiness", (ok) => {
          this.#probedReady = ok;
          this.#deps.onChange();
        });
      if (livenessProbe !== undefined)
        loop(livenessProbe, "liveness", (ok) => {
          if (!ok) this.#killFor("liveness");
        });
    };
    if (startupProbe === undefined) begin();
    else
      loop(startupProbe, "startup", (ok) => {
        if (!ok) {
          this.#killFor("startup");
          return;
        }
        for (const probe of this.#probes.splice(0)) probe.stop();
        this.#started = true;
        begin();
        this.#deps.onChange();
      });
  }

  #stopProbes(): void {
    for (const probe of this.#probes.splice(0)) probe.stop();
    this.#probedReady = false;
  }

  #killFor(probe: string): void {
    this.#deps.event(`container ${this.#options.container.name} failed its ${probe} probe and is started again`);
    const child = this.#child;
    child?.kill("SIGTERM");
    const timer = setTimeout(() => {
      if (this.#child === child) this.#deps.cgroup.kill();
    }, 2000);
    timer.unref();
  }
}
