/**
 * The authority as control runs it: the signer itself, plug-in certificates that it follows, rotations that it carries on, the file that
 * its roots are published in, what agents are told of it, and the service for operators. Started before agents are served; rotations go
 * on once the state of the mesh is there.
 */
import { writeAtomically } from "../../lib/atomic-file.ts";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { equivalentIdentities, type Identity } from "../../model/identity.ts";
import type { MeshSettings, MeshView } from "../../model/mesh.ts";
import { AuthorityService as AuthorityProto } from "../../xds/gen/warren/authority/v1/authority_pb.ts";
import { grpcService } from "../../xds/grpc-service.ts";
import type { OperatorAuthenticator } from "../access/operator-authenticator.ts";
import type { ServedService } from "../grpc-server.ts";
import type { AgentRegistry } from "../inspection/agent-registry.ts";
import { InspectedAgents } from "./agent-census.ts";
import { Authority, type AuthorityOptions } from "./authority.ts";
import { AuthorityService } from "./authority-service.ts";
import type { AuthorityVault } from "./authority-state.ts";
import { PlugInKeeper } from "./plug-in-keeper.ts";
import type { PlugInReader } from "./plug-in-source.ts";
import { RotationDriver, rotationDefaults } from "./rotation-driver.ts";
import { RotationStart } from "./rotation-start.ts";

export interface OnlineAuthorityDeps {
  readonly vault: AuthorityVault;
  readonly view: () => MeshView;
  readonly agents: AgentRegistry;
  readonly operators: OperatorAuthenticator;
  readonly clock: Clock;
  readonly log: OnlineAuthorityLog;
}

export interface OnlineAuthorityLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface OnlineAuthorityOptions extends AuthorityOptions {
  /** How long a new root is trusted at least before anything is issued from it, milliseconds. */
  readonly rootSettleMs: number;
  /** Part of a root's life after which its rotation begins by itself; 1 for never. */
  readonly rootRotateAt: number;
  /** File to write the roots to; undefined for none. */
  readonly publishRoot: string | undefined;
  /** False where agents get their certificates from another authority: then they are not told which roots to trust. */
  readonly distributeRoots: boolean;
}

export class OnlineAuthority {
  readonly signer: Authority;
  readonly #deps: OnlineAuthorityDeps;
  readonly #options: OnlineAuthorityOptions;
  readonly #rotation: RotationDriver;
  readonly #begins: RotationStart;
  readonly #service: AuthorityService;
  #plugIn: PlugInKeeper | undefined;
  #serving: () => string = () => "";
  #published = "";
  #publishing: Promise<void> = Promise.resolve();

  constructor(deps: OnlineAuthorityDeps, options: OnlineAuthorityOptions) {
    this.#deps = deps;
    this.#options = options;
    const { clock, log, view } = deps;
    const agents = new InspectedAgents({ agents: deps.agents, view });
    this.signer = new Authority({ vault: deps.vault, clock, log }, options);
    this.#rotation = new RotationDriver(
      { authority: this.signer, agents, clock, log },
      {
        ...rotationDefaults,
        settleMs: options.rootSettleMs,
        outlivesMs: options.certificateLifetimeMs + options.backdateMs,
      },
    );
    this.#begins = new RotationStart(
      { authority: this.signer, clock, log },
      {
        rotateAt: options.rootRotateAt,
        backdateMs: options.backdateMs,
        follows: () => this.#plugIn !== undefined,
      },
    );
    this.#service = new AuthorityService({
      authority: this.signer,
      rotation: this.#rotation,
      begins: this.#begins,
      agents,
      nodesOf: (identity) => nodesOf(view(), identity),
      operators: deps.operators,
      serving: () => this.#serving(),
      trustDomain: options.trustDomain,
      trustDomainAliases: () => view().settings.trustDomainAliases,
      plugIn: () => this.#plugIn,
      clock,
      log,
    });
  }

  /** What operators ask, ready to be served. */
  get service(): ServedService {
    const { getStatus, watchStatus, rotateIntermediate, rotateRoot, revoke, restore, gate } = this.#service;
    return {
      definition: grpcService(AuthorityProto),
      implementation: {
        GetStatus: getStatus,
        WatchStatus: watchStatus,
        RotateIntermediate: rotateIntermediate,
        RotateRoot: rotateRoot,
        Revoke: revoke,
        Restore: restore,
      },
      gate,
    };
  }

  /** Resolves when it can sign and its roots are published. Rejects, with nothing served, when plug-in certificates are not right. */
  async start(reader: PlugInReader | undefined, serving: () => string): Promise<void> {
    const { clock, log } = this.#deps;
    const { certificateLifetimeMs } = this.#options;
    this.#serving = serving;
    if (reader === undefined) {
      await this.signer.start();
      if (this.signer.state.issuer.origin === "plug-in") {
        log.warn(
          {},
          "issuing from plug-in certificates that are configured no more; warren ca rotate makes a root of our own",
        );
      }
    } else {
      this.#plugIn = new PlugInKeeper({ reader, clock, log }, { certificateLifetimeMs });
      await this.signer.start(await this.#plugIn.load());
      await this.#plugIn.follow(this.signer);
    }
    const { publishRoot } = this.#options;
    if (publishRoot !== undefined) {
      this.#published = this.signer.roots;
      await writeAtomically(publishRoot, this.#published, 0o644);
    }
    this.signer.onChange(() => this.#publish());
  }

  /** Call when the state of the mesh is there: which agents must confirm follows from it. */
  carryOn(): void {
    this.#rotation.start();
    this.#begins.start();
  }

  /** May be called twice and after a failed start. */
  async stop(): Promise<void> {
    this.#service.stop();
    this.#plugIn?.stop();
    this.#begins.stop();
    await this.#rotation.stop();
    this.signer.stop();
    await this.#publishing;
  }

  /** Ends what operators watch, so that their streams don't hold up the listener's end. */
  leave(): void {
    this.#service.stop();
  }

  /** The settings as agents are told them. */
  addTo(settings: MeshSettings): MeshSettings {
    const { crl, trustBundle, issuingRoot, deniedIdentities } = this.signer.settings;
    return {
      ...settings,
      crl,
      ...(this.#options.distributeRoots ? { trustBundle, issuingRoot } : {}),
      // By every name that they go by: an alias must be no way around a denial.
      deniedIdentities: [
        ...new Set(
          [...settings.deniedIdentities, ...deniedIdentities].flatMap((one) => equivalentIdentities(one, settings)),
        ),
      ],
    };
  }

  onChange(listener: () => void): () => void {
    return this.signer.onChange(listener);
  }

  #publish(): void {
    const { publishRoot } = this.#options;
    if (publishRoot === undefined) return;
    this.#publishing = this.#publishing.then(async () => {
      const { roots } = this.signer;
      if (roots === this.#published) return;
      try {
        await writeAtomically(publishRoot, roots, 0o644);
        this.#published = roots;
      } catch (error) {
        this.#deps.log.error({ publishRoot }, `the roots cannot be published: ${messageOf(error)}`);
      }
    });
  }
}

function nodesOf(view: MeshView, identity: Identity): string[] {
  const nodes = new Set<string>();
  for (const workload of view.workloads()) {
    if (workload.identity === identity && workload.node !== "" && workload.tunnel === "hbone") nodes.add(workload.node);
  }
  return [...nodes];
}
