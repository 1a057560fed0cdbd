/** Strangers at the listener, as HTTP/2 lets them be: what they send is not read, whatever it says of itself. */
import { connect as connectHttp2, type OutgoingHttpHeaders } from "node:http2";
import { connect as connectTcp } from "node:net";
import { ServerCredentials, type ServiceDefinition, status } from "@grpc/grpc-js";
import { expect, onTestFinished, test } from "vitest";
import type { CallGate } from "../../../src/control/access/call-gate.ts";
import { ending } from "../../../src/control/grpc-call.ts";
import { GrpcServer } from "../../../src/control/grpc-server.ts";
import { RecordedLog } from "../../support/recorded-log.ts";

const eventually = { timeout: 30_000 };
const path = "/test.Service/Take";
const same = (bytes: Buffer) => bytes;

/** A server of one unary method that says how many messages came so far that they were decoded. */
async function served(gate: CallGate) {
  const taken: Buffer[] = [];
  const decode = (bytes: Buffer) => {
    taken.push(bytes);
    return bytes;
  };
  const definition: ServiceDefinition = {
    Take: {
      path,
      requestStream: false,
      responseStream: false,
      requestSerialize: same,
      requestDeserialize: decode,
      responseSerialize: same,
      responseDeserialize: same,
    },
  };
  const log = new RecordedLog();
  const server = new GrpcServer(
    {
      credentials: ServerCredentials.createInsecure(),
      services: [
        {
          definition,
          implementation: {
            Take: (_call: object, answer: (error: null, value: Buffer) => void) => answer(null, Buffer.from("taken")),
          },
          gate,
        },
      ],
      log,
    },
    { host: "127.0.0.1", port: 0 },
  );
  const port = await server.start();
  onTestFinished(() => server.stop(0));
  return { port, taken, log };
}

/** A connection, and what was written to it. */
function stranger(port: number) {
  const socket = connectTcp(port, "127.0.0.1");
  socket.on("error", () => {});
  const session = connectHttp2(`http://127.0.0.1:${port}`, { createConnection: () => socket, maxSessionMemory: 100 });
  session.on("error", () => {});
  onTestFinished(() => session.destroy());
  const call = (headers: OutgoingHttpHeaders = {}) => {
    const stream = session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    });
    const seen: { status?: number } = {};
    stream.on("error", () => {});
    const look = (got: { readonly [name: string]: unknown }) => {
      if (got["grpc-status"] !== undefined) seen.status = Number(got["grpc-status"]);
    };
    stream.on("response", look).on("trailers", look).resume();
    return { stream, seen };
  };
  const ping = () =>
    new Promise<void>((resolve, reject) => {
      session.ping((error) => (error === null ? resolve() : reject(error)));
    });
  return { socket, session, call, ping };
}

/** A gRPC message of this many bytes. */
function message(bytes: number): Buffer {
  const framed = Buffer.alloc(5 + bytes, 7);
  framed.writeUInt8(0, 0);
  framed.writeUInt32BE(bytes, 1);
  return framed;
}

test("while a caller is judged, each of its streams holds two windows of its message and no more, and none is decoded", async () => {
  const { promise: judged, resolve: judge } = Promise.withResolvers<void>();
  let arrived = 0;
  const { port, taken } = await served(async () => {
    arrived++;
    await judged;
    return ending(status.UNAUTHENTICATED, "a stranger");
  });
  const { socket, call, ping } = stranger(port);
  const streams = 24;
  const calls = Array.from({ length: streams }, () => call());
  for (const { stream } of calls) stream.write(message(1 << 20));
  await expect.poll(() => arrived, eventually).toBe(streams);
  const windows = streams * 65_535;
  await expect.poll(() => socket.bytesWritten, eventually).toBeGreaterThan(windows);
  for (let round = 0; round < 5; round++) await ping();
  // One that HTTP/2 allows, one that Node buffers; of the 24 MiB that are offered.
  expect(socket.bytesWritten).toBeLessThan(2 * windows + 128 * 1024);
  judge();
  await expect
    .poll(() => calls.map(({ seen }) => seen.status), eventually)
    .toEqual(Array(streams).fill(status.UNAUTHENTICATED));
  expect(taken).toEqual([]);
});

test("a stranger is refused although its message never ends, or never begins", async () => {
  const { port, taken } = await served(() => Promise.resolve(ending(status.UNAUTHENTICATED, "a stranger")));
  const { call } = stranger(port);
  const calls = [call(), call(), call()];
  calls[1]?.stream.write(message(20 << 20).subarray(0, 3));
  calls[2]?.stream.write(message(20 << 20).subarray(0, 1000));
  await expect.poll(() => calls.map(({ seen }) => seen.status), eventually).toEqual([16, 16, 16]);
  expect(taken).toEqual([]);
});

test("who is let in is read and answered, beside strangers and after them", async () => {
  const { port, taken } = await served(({ method, metadata }) =>
    Promise.resolve(
      method === "Take" && metadata.get("authorization").includes("known")
        ? undefined
        : ending(status.UNAUTHENTICATED, "a stranger"),
    ),
  );
  const { call } = stranger(port);
  const [first, known] = [call(), call({ authorization: "known" })];
  first.stream.end(message(10));
  known.stream.end(message(10));
  await expect.poll(() => [first.seen.status, known.seen.status], eventually).toEqual([16, 0]);
  expect(taken).toHaveLength(1);
});

test("a gate that fails ends the call, and nobody hears why", async () => {
  const { port, log } = await served(() => Promise.reject(new Error("the API server's address is 10.0.0.1")));
  const { call } = stranger(port);
  const { seen } = call();
  await expect.poll(() => seen.status, eventually).toBe(status.INTERNAL);
  expect(JSON.stringify(log)).toContain("10.0.0.1");
});

test("a method that takes one message cannot be served without a gate", () => {
  const take = { path, requestStream: false, responseStream: false };
  const codecs = {
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
  const services = [{ definition: { Take: { ...take, ...codecs } }, implementation: { Take: () => {} } }];
  const deps = { credentials: ServerCredentials.createInsecure(), services, log: new RecordedLog() };
  expect(() => new GrpcServer(deps, { host: "127.0.0.1", port: 0 })).toThrow("has no gate");
});
