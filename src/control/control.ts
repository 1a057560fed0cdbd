/**
 * The control plane, put together: the authority and its state, who may ask, what they may have (the mesh's pods), the
 * listener for agents, and the port for kubelet and Prometheus. It sits beside the data path: agents go on when it is away.
 */
import { hostname, networkInterfaces } from "node:os";
import { systemClock } from "../lib/clock.ts";
import { HttpServer } from "../lib/http-server.ts";
import type { MeshIndex } from "../mesh/mesh-index.ts";
import type { MeshSource } from "../model/mesh.ts";
import type { Logger } from "../telemetry/log.ts";
import { IstioCertificateService } from "../xds/gen/istio/v1/auth/ca_pb.ts";
import { InspectionService as InspectionProto } from "../xds/gen/warren/inspect/v1/inspect_pb.ts";
import { OperatorService as OperatorProto } from "../xds/gen/warren/operator/v1/operator_pb.ts";
import { grpcService } from "../xds/grpc-service.ts";
import { MeshPodDirectory } from "./access/pod-directory.ts";
import { adminRoutes } from "./admin.ts";
import { authorityDefaults } from "./authority/authority.ts";
import { OnlineAuthority } from "./authority/online-authority.ts";
import { CertificateService } from "./certificate-service.ts";
import type { ControlConfig } from "./config.ts";
import { DiscoveryService, discoveryDefaults, discoveryDefinition } from "./discovery/discovery-service.ts";
import { MeshResources } from "./discovery/mesh-resources.ts";
import { ResourceStore } from "./discovery/resource-store.ts";
import { GrpcServer } from "./grpc-server.ts";
import { AgentRegistry } from "./inspection/agent-registry.ts";
import { FanOut } from "./inspection/fan-out.ts";
import { InspectionService, inspectionDefaults } from "./inspection/inspection-service.ts";
import { createControlMetrics } from "./metrics.ts";
import { describeControl } from "./operator/control-description.ts";
import { OperatorService, operatorDefaults } from "./operator/operator-service.ts";
import type { ControlPlatform } from "./platform.ts";
import { ServingCertificate } from "./serving-certificate.ts";

export interface ControlDeps {
  /** The state of the mesh; started and stopped by the control plane. */
  readonly source: MeshSource & { readonly view: MeshIndex };
  /** Started and stopped by the control plane too. */
  readonly platform: ControlPlatform;
  readonly log: Logger;
}

/** Where it listens, once started. */
export interface ControlAddresses {
  readonly port: number;
  readonly adminPort: number;
}

/** Agents and we read the same objects at nearly the same time; this is what "nearly" may be. */
const podGraceMs = 1000;

/** Changes that come together are sent together; small against the time that Kubernetes takes to tell of them. */
const discoveryDebounceMs = 5;

type Blocker = "authority" | "mesh state" | "platform" | "listener";

export class Control {
  readonly #config: ControlConfig;
  readonly #deps: ControlDeps;
  readonly #authority: OnlineAuthority;
  readonly #serving: ServingCertificate;
  readonly #server: GrpcServer;
  readonly #admin: HttpServer;
  readonly #resources: MeshResources;
  readonly #discovery: DiscoveryService;
  readonly #inspection: InspectionService;
  readonly #operators: OperatorService;
  readonly #startedAt = systemClock.now();
  readonly #blockers = new Set<Blocker>(["authority", "mesh state", "platform", "listener"]);
  #stopping: Promise<void> | undefined;

  constructor(deps: ControlDeps, config: ControlConfig) {
    this.#deps = deps;
    this.#config = config;
    const clock = systemClock;
    const logOf = (scope: string) => deps.log.child({ scope });
    const view = () => deps.source.view;
    const agents = new AgentRegistry({ clock, view });
    const { vault, operators: operatorAccess } = deps.platform;
    this.#authority = new OnlineAuthority(
      { vault, view, agents, operators: operatorAccess, clock, log: logOf("authority") },
      {
        trustDomain: config.trustDomain,
        rootLifetimeMs: config.rootLifetime,
        intermediateLifetimeMs: config.intermediateLifetime,
        certificateLifetimeMs: config.certificateLifetime,
        servingLifetimeMs: config.servingLifetime,
        backdateMs: authorityDefaults.backdateMs,
        trustDomainAliases: config.mesh.trustDomainAliases,
        rootSettleMs: config.rootSettle,
        rootRotateAt: config.rootRotateAt,
        publishRoot: config.publishRoot,
        distributeRoots: config.distributeRoots,
      },
    );
    this.#serving = new ServingCertificate(
      { authority: this.#authority.signer, clock, log: logOf("server") },
      servingHosts(config),
    );
    const metrics = createControlMetrics(
      () =>
        this.#blockers.has("authority")
          ? undefined
          : { ...this.#authority.signer.expiry, serving: this.#serving.notAfter },
      () => certificates.inFlight,
      () => ({ clients: this.#discovery.clients().length, untold: this.#resources.untold.length }),
    );
    deps.platform.register(metrics.registry);
    const certificates = new CertificateService(
      {
        authority: this.#authority.signer,
        nodes: deps.platform.nodes,
        pods: new MeshPodDirectory({ source: deps.source, clock }, { graceMs: podGraceMs }),
        metrics,
        log: logOf("certificates"),
      },
      {
        trustDomain: config.trustDomain,
        trustDomainAliases: config.mesh.trustDomainAliases,
        concurrency: config.concurrency,
      },
    );
    const store = new ResourceStore();
    this.#resources = new MeshResources(
      { source: deps.source, authority: this.#authority, store, clock, log: logOf("discovery") },
      { debounceMs: discoveryDebounceMs },
    );
    this.#discovery = new DiscoveryService(
      { store, nodes: deps.platform.nodes, clock, metrics, log: logOf("discovery") },
      discoveryDefaults,
    );
    const discovery = {
      DeltaAggregatedResources: this.#discovery.deltaAggregatedResources,
      StreamAggregatedResources: this.#discovery.streamAggregatedResources,
    };
    this.#inspection = new InspectionService(
      { nodes: deps.platform.nodes, agents, clock, log: logOf("inspection") },
      inspectionDefaults,
    );
    const control = () =>
      describeControl({
        startedAt: this.#startedAt,
        now: clock.now(),
        trustDomain: config.trustDomain,
        blockers: [...this.#blockers],
        expiry: { ...this.#authority.signer.expiry, serving: this.#serving.notAfter },
        agents,
        view: deps.source.view,
        untold: this.#resources.untold,
        clients: this.#discovery.clients(),
      });
    this.#operators = new OperatorService(
      {
        operators: deps.platform.operators,
        fanOut: new FanOut({ agents, clock }),
        store,
        control,
        now: () => clock.now(),
        log: logOf("operators"),
      },
      operatorDefaults,
    );
    const operators = {
      Ask: this.#operators.ask,
      GetMesh: this.#operators.getMesh,
      GetControl: this.#operators.getControl,
    };
    this.#server = new GrpcServer(
      {
        credentials: this.#serving.credentials,
        services: [
          {
            definition: grpcService(IstioCertificateService),
            implementation: { CreateCertificate: certificates.createCertificate },
            gate: certificates.gate,
          },
          { definition: discoveryDefinition(), implementation: discovery },
          { definition: grpcService(InspectionProto), implementation: { Inspect: this.#inspection.inspect } },
          { definition: grpcService(OperatorProto), implementation: operators, gate: this.#operators.gate },
          this.#authority.service,
        ],
        log: logOf("server"),
      },
      { ...config.listen, socket: config.operatorSocket },
    );
    this.#admin = new HttpServer(
      adminRoutes({
        registry: metrics.registry,
        blockers: () => [...this.#blockers],
        discoveryClients: () => this.#discovery.clients(),
        discoveryUntold: () => this.#resources.untold,
        platform: () => deps.platform.describe(),
      }),
      { name: "admin", listen: config.admin, loopbackOnly: false },
    );
  }

  /** Resolves when agents are served. Rejects with what is wrong after having stopped what had been started. */
  async start(signal: AbortSignal): Promise<ControlAddresses> {
    try {
      return await this.#start(signal);
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async #start(signal: AbortSignal): Promise<ControlAddresses> {
    const { log, source, platform } = this.#deps;
    const { publishRoot, trustDomain } = this.#config;
    const { port: adminPort } = await this.#admin.start();
    await platform.start(signal);
    this.#done("platform");
    await this.#authority.start(platform.plugIn(), () => this.#serving.chain);
    await this.#serving.start();
    this.#done("authority");
    await source.start(signal);
    await this.#resources.start();
    this.#authority.carryOn();
    this.#done("mesh state");
    const port = await this.#server.start();
    this.#done("listener");
    platform.serve(this.#authority.signer);
    log.info(
      { port, adminPort, trustDomain, ...(publishRoot === undefined ? {} : { publishRoot }) },
      "control plane ready",
    );
    return { port, adminPort };
  }

  /** Lets requests under way end, then stops. May be called twice and after a failed start. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#blockers.add("listener");
    // Streams never end by themselves; their clients have what they need meanwhile.
    this.#discovery.stop();
    this.#inspection.stop();
    this.#operators.stop();
    this.#authority.leave();
    this.#resources.stop();
    await this.#server.stop(this.#config.drainDeadline);
    this.#serving.stop();
    await this.#authority.stop();
    await this.#deps.platform.stop();
    await this.#deps.source.stop();
    await this.#admin.stop();
  }

  #done(blocker: Blocker): void {
    this.#blockers.delete(blocker);
  }
}

/** What agents on this machine and others may dial. */
function servingHosts({ listen, servingNames }: ControlConfig): string[] {
  const wildcard = ["", "0.0.0.0", "::"].includes(listen.host);
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const own = wildcard ? addresses.filter(({ scopeid }) => !scopeid).map(({ address }) => address) : [listen.host];
  return [...new Set([...servingNames, ...own, hostname(), "localhost", "127.0.0.1", "::1"])];
}
