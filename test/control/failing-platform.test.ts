/** What control stands on fails while it is asked, as the API server does that reviews tokens: the caller is told, and control lives on. */
import { Client, credentials, Server, ServerCredentials, type StatusObject, status } from "@grpc/grpc-js";
import { expect, onTestFinished, test } from "vitest";
import { AuthorityService, type AuthorityServiceDeps } from "../../src/control/authority/authority-service.ts";
import { CertificateService } from "../../src/control/certificate-service.ts";
import { DiscoveryService, discoveryDefaults } from "../../src/control/discovery/discovery-service.ts";
import { ResourceStore } from "../../src/control/discovery/resource-store.ts";
import { AgentRegistry } from "../../src/control/inspection/agent-registry.ts";
import { InspectionService, inspectionDefaults } from "../../src/control/inspection/inspection-service.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { AggregatedDiscoveryService } from "../../src/xds/gen/envoy/service/discovery/v3/discovery_pb.ts";
import { IstioCertificateService } from "../../src/xds/gen/istio/v1/auth/ca_pb.ts";
import { AuthorityService as AuthorityProto } from "../../src/xds/gen/warren/authority/v1/authority_pb.ts";
import { InspectionService as InspectionProto } from "../../src/xds/gen/warren/inspect/v1/inspect_pb.ts";
import { grpcService } from "../../src/xds/grpc-service.ts";
import { RecordedLog } from "../support/recorded-log.ts";

const fails = () => Promise.reject(new Error("the API server is away"));
const clock = systemClock;

async function serving(log: RecordedLog): Promise<Client> {
  const nodes = { authenticate: fails };
  const metrics = { certificateRequest() {}, discoveryResponse() {}, discoveryRejected() {} };
  const authority = new AuthorityService({ operators: { authorize: fails }, log } as unknown as AuthorityServiceDeps);
  const discovery = new DiscoveryService({ store: new ResourceStore(), nodes, clock, metrics, log }, discoveryDefaults);
  const view = () => {
    throw new Error("nobody asks for it");
  };
  const agents = new AgentRegistry({ clock, view });
  const inspection = new InspectionService({ nodes, agents, clock, log }, inspectionDefaults);
  const certificates = new CertificateService(
    { authority: { issue: fails }, nodes, pods: { hasEnrolledPod: fails }, metrics, log },
    { trustDomain: "cluster.local", trustDomainAliases: [], concurrency: 1 },
  );
  const server = new Server();
  server.addService(grpcService(AuthorityProto), {
    GetStatus: authority.getStatus,
    WatchStatus: authority.watchStatus,
    Revoke: authority.revoke,
  });
  server.addService(grpcService(AggregatedDiscoveryService), {
    DeltaAggregatedResources: discovery.deltaAggregatedResources,
  });
  server.addService(grpcService(InspectionProto), { Inspect: inspection.inspect });
  server.addService(grpcService(IstioCertificateService), { CreateCertificate: certificates.createCertificate });
  onTestFinished(() => server.forceShutdown());
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  onTestFinished(() => client.close());
  return client;
}

test.each([
  "warren.authority.v1.AuthorityService/GetStatus",
  "warren.authority.v1.AuthorityService/WatchStatus",
  "warren.authority.v1.AuthorityService/Revoke",
  "envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
  "warren.inspect.v1.InspectionService/Inspect",
  "istio.v1.auth.IstioCertificateService/CreateCertificate",
])("%s says that it failed, and the log why", async (method) => {
  const log = new RecordedLog();
  const client = await serving(log);
  const same = (bytes: Buffer) => bytes;
  const call = client.makeBidiStreamRequest<Buffer, Buffer>(`/${method}`, same, same);
  const ended = new Promise<StatusObject>((resolve) => call.on("status", resolve));
  call.on("error", () => {}).resume();
  call.write(Buffer.alloc(0));
  call.end();
  expect(await ended).toMatchObject({ code: status.INTERNAL });
  expect(log.lines.map(({ message }) => message).join()).toContain("the API server is away");
});
