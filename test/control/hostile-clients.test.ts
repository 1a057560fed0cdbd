/**
 * Callers who keep to no protocol, and one who does: whatever the former do, control answers the latter. An exception that nobody catches
 * fails these tests by itself, as it would end the process.
 */
import { readFile } from "node:fs/promises";
import { connect as connectHttp2 } from "node:http2";
import { connect as connectTcp } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { Client, type ClientDuplexStream, credentials, Metadata, type StatusObject, status } from "@grpc/grpc-js";
import { expect, onTestFinished, test } from "vitest";
import { createCertificateRequest } from "../../src/identity/certificate-request.ts";
import { createWorkloadKey } from "../../src/identity/key.ts";
import { formatIdentity } from "../../src/identity/spiffe.ts";
import {
  AggregatedDiscoveryService,
  DeltaDiscoveryRequestSchema,
} from "../../src/xds/gen/envoy/service/discovery/v3/discovery_pb.ts";
import { IstioCertificateService } from "../../src/xds/gen/istio/v1/auth/ca_pb.ts";
import { AuthorityService } from "../../src/xds/gen/warren/authority/v1/authority_pb.ts";
import { AgentMessageSchema, InspectionService } from "../../src/xds/gen/warren/inspect/v1/inspect_pb.ts";
import { OperatorService } from "../../src/xds/gen/warren/operator/v1/operator_pb.ts";
import { grpcMethod } from "../../src/xds/grpc-service.ts";
import { type ControlPlane, podManifest, startControlPlane } from "../support/control-plane.ts";
import { XdsClient } from "../support/xds-client.ts";

const eventually = { timeout: 30_000 };
const discovery = grpcMethod(AggregatedDiscoveryService.method.deltaAggregatedResources).path;
const inspection = grpcMethod(InspectionService.method.inspect).path;
const addressType = "type.googleapis.com/istio.workload.Address";

/** As a stranger's program would write it. */
function bytes<T extends DescMessage>(schema: T, init: MessageInitShape<T>): Buffer {
  return Buffer.from(toBinary(schema, create(schema, init)));
}
const asks = (init: MessageInitShape<typeof DeltaDiscoveryRequestSchema>) => bytes(DeltaDiscoveryRequestSchema, init);
const says = (init: MessageInitShape<typeof AgentMessageSchema>) => bytes(AgentMessageSchema, init);
const garbage = Buffer.from("ffffffffffffff0f0a", "hex");
/** Field 2 (`type_url` is a text there, `kind` a message) as a number, and a group that never ends. */
const wrongTypes = Buffer.from("10ff01", "hex");
const endlessGroup = Buffer.from("0b", "hex");
const hello = says({ kind: { case: "hello", value: { version: "x".repeat(1 << 20), node: "\u0000\u202e" } } });
const subscribes = asks({ typeUrl: addressType, resourceNamesSubscribe: ["*"] });

async function plane(): Promise<ControlPlane & { root: Buffer; token: string }> {
  const made = await startControlPlane([], podManifest("api", "w1"));
  const root = await readFile(join(made.folder, "published/root.pem"));
  return { ...made, root, token: (await readFile(join(made.folder, "w1.token"), "utf8")).trim() };
}

/** A stream to `path` that sends these bytes as messages at once, before anything was answered. */
function stream(
  to: { port: number; root: Buffer; token: string },
  path: string,
  messages: readonly Buffer[],
): { call: ClientDuplexStream<Buffer, Buffer>; ended: Promise<StatusObject>; answers: Buffer[] } {
  const client = new Client(`127.0.0.1:${to.port}`, credentials.createSsl(to.root), {
    "grpc.use_local_subchannel_pool": 1,
  });
  onTestFinished(() => client.close());
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${to.token}`);
  const same = (buffer: Buffer) => buffer;
  const call = client.makeBidiStreamRequest<Buffer, Buffer>(path, same, same, metadata);
  const answers: Buffer[] = [];
  const { promise: ended, resolve } = Promise.withResolvers<StatusObject>();
  call.on("data", (answer: Buffer) => answers.push(answer));
  call.on("error", () => {}).on("status", resolve);
  for (const message of messages) call.write(message);
  return { call, ended, answers };
}

/** Somebody who behaves is served: told the mesh, and given a certificate. */
async function serves(to: Awaited<ReturnType<typeof plane>>): Promise<void> {
  const client = new XdsClient({
    address: `127.0.0.1:${to.port}`,
    rootFile: join(to.folder, "published/root.pem"),
    token: to.token,
  });
  client.send("istio.workload.Address");
  expect((await client.response(1)).resources).toHaveLength(1);
  client.end();
  const key = await createWorkloadKey();
  const identity = formatIdentity({ trustDomain: "cluster.local", namespace: "production", serviceAccount: "api" });
  const request = await createCertificateRequest(identity, key);
  const order = { identity, lifetimeMs: 3_600_000, request, key };
  expect(await to.client("w1").createCertificate(order, AbortSignal.timeout(30_000))).toHaveLength(3);
}

test.each<[string, string, readonly Buffer[], status]>([
  ["garbage for a discovery request", discovery, [garbage], status.INTERNAL],
  ["a number for a type", discovery, [wrongTypes], status.INTERNAL],
  ["a group without an end", discovery, [endlessGroup], status.INTERNAL],
  ["an empty discovery request", discovery, [Buffer.alloc(0)], status.INVALID_ARGUMENT],
  ["a type that is no type", discovery, [asks({ typeUrl: `${"x".repeat(999)}😀` })], status.INVALID_ARGUMENT],
  ["many wrong requests at once", discovery, Array<Buffer>(50).fill(asks({ typeUrl: "x" })), status.INVALID_ARGUMENT],
  ["a subscription, then garbage", discovery, [subscribes, subscribes, garbage], status.INTERNAL],
  ["garbage for an agent's message", inspection, [garbage], status.INTERNAL],
  ["an agent's message that says nothing", inspection, [Buffer.alloc(0)], status.INVALID_ARGUMENT],
  [
    "an answer before hello",
    inspection,
    [says({ ask: 1n, kind: { case: "end", value: {} } })],
    status.INVALID_ARGUMENT,
  ],
  ["hello twice", inspection, [hello, hello, hello], status.INVALID_ARGUMENT],
  [
    "an answer to nothing",
    inspection,
    [hello, says({ ask: 2n ** 64n - 1n, kind: { case: "end", value: {} } })],
    status.INVALID_ARGUMENT,
  ],
  ["a method that there is not", "/warren.inspect.v1.InspectionService/Nothing", [garbage], status.UNIMPLEMENTED],
  [
    "garbage for an order",
    grpcMethod(IstioCertificateService.method.createCertificate).path,
    [garbage],
    status.INTERNAL,
  ],
  // A node's token is not an operator's: nothing of it is read.
  ["garbage for a person's ask", grpcMethod(OperatorService.method.ask).path, [garbage], status.PERMISSION_DENIED],
  ["garbage for a revocation", grpcMethod(AuthorityService.method.revoke).path, [garbage], status.PERMISSION_DENIED],
])("%s ends that call with a status, and nothing else", async (_name, path, messages, code) => {
  const to = await plane();
  const { call, ended } = stream(to, path, messages);
  call.end();
  expect(await ended).toMatchObject({ code });
  await serves(to);
});

const oneMessage = [IstioCertificateService, OperatorService, AuthorityService].flatMap(({ methods }) =>
  methods.filter(({ methodKind }) => methodKind === "unary" || methodKind === "server_streaming"),
);

test.each(oneMessage.map((method) => [grpcMethod(method).path]))(
  "strangers with messages that never end, on every stream of a connection, are refused at once by %s",
  async (path) => {
    const to = await plane();
    const socket = connectTls({ host: "127.0.0.1", port: to.port, ca: to.root, ALPNProtocols: ["h2"], servername: "" });
    const session = connectHttp2(`https://127.0.0.1:${to.port}`, { createConnection: () => socket });
    session.on("error", () => {});
    onTestFinished(() => session.destroy());
    const headers = { ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers" };
    // It says 20 MiB, and sends a part of it.
    const begun = Buffer.concat([Buffer.from([0, 1, 64, 0, 0]), Buffer.alloc(100_000)]);
    const statuses: unknown[] = [];
    for (const authorization of Array.from({ length: 24 }, (_, index) => `Bearer made-up-${index}`)) {
      const call = session.request({ ...headers, authorization });
      call.on("error", () => {}).resume();
      call.on("response", (got) => statuses.push(got["grpc-status"]));
      call.write(begun);
    }
    await expect.poll(() => statuses.length, eventually).toBe(24);
    expect([status.UNAUTHENTICATED, status.PERMISSION_DENIED].map(String)).toEqual(
      expect.arrayContaining([...new Set(statuses)]),
    );
    await serves(to);
  },
);

test("what a client may say twice, with names of a megabyte, numbers that mean nothing and versions of nothing, is answered", async () => {
  const to = await plane();
  const name = "n".repeat(1 << 20);
  const { call, answers } = stream(to, discovery, [
    asks({ typeUrl: addressType, responseNonce: "never sent", errorDetail: { code: 2 ** 31 - 1, message: name } }),
    asks({ typeUrl: addressType, resourceNamesSubscribe: ["*", "*", name, "", "__proto__"] }),
    asks({ typeUrl: addressType, resourceNamesSubscribe: ["*"], initialResourceVersions: { [name]: name, "": "" } }),
    asks({ typeUrl: addressType, resourceNamesUnsubscribe: ["*", "*", name, "constructor"] }),
    asks({ typeUrl: addressType, resourceNamesSubscribe: [name], more: true }),
  ]);
  await expect.poll(() => answers.length, eventually).toBeGreaterThan(0);
  call.cancel();
  await serves(to);
});

test("clients that leave at once, in every way, leave nothing behind", async () => {
  const to = await plane();
  const calls = [discovery, inspection].flatMap((path) =>
    [[], [subscribes], [hello], [garbage, subscribes]].map((messages) => stream(to, path, messages)),
  );
  for (const { call } of calls) call.cancel();
  await Promise.all(calls.map(({ ended }) => ended));
  // And once they are known, in the middle of what they are told.
  const known = [stream(to, discovery, [subscribes]), stream(to, inspection, [hello])];
  await expect.poll(() => known[0]?.answers.length, eventually).toBe(1);
  for (const { call } of known) call.cancel();
  for (const hexadecimal of ["", "00", "16030100", "505249202a20485454502f322e30"]) {
    const socket = connectTcp(to.port, "127.0.0.1");
    await new Promise<void>((resolve) => {
      socket
        .on("error", () => {})
        .once("connect", () => {
          socket.write(Buffer.from(hexadecimal, "hex"), () => resolve(void socket.resetAndDestroy()));
        });
    });
  }
  await serves(to);
  const clients = async () => (await (await fetch(`http://127.0.0.1:${to.adminPort}/discovery`)).json()) as object[];
  await expect.poll(clients, eventually).toEqual([]);
});
