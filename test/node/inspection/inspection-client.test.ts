import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { Server, ServerCredentials, type ServerDuplexStream, status } from "@grpc/grpc-js";
import { describe, expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../../src/lib/clock.ts";
import { InspectionClient } from "../../../src/node/inspection/inspection-client.ts";
import type { Answers } from "../../../src/node/inspection/inspection-session.ts";
import {
  type AgentMessage,
  type ControlMessage,
  ControlMessageSchema,
  InspectionService,
} from "../../../src/xds/gen/warren/inspect/v1/inspect_pb.ts";
import { grpcService } from "../../../src/xds/grpc-service.ts";
import { servingFiles } from "../../support/serving-files.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

type Call = ServerDuplexStream<AgentMessage, ControlMessage>;
const eventually = { timeout: 30_000 };

/** A control plane that keeps every stream, and an agent's client on its way to it. */
async function start(answers: Answers) {
  const folder = await temporaryFolder();
  const files = await servingFiles(folder);
  const calls: { call: Call; heard: AgentMessage[]; token: string }[] = [];
  const server = new Server();
  server.addService(grpcService(InspectionService), {
    Inspect: (call: Call) => {
      const heard: AgentMessage[] = [];
      calls.push({ call, heard, token: String(call.metadata.get("authorization")[0]) });
      call.on("error", () => {});
      call.on("data", (message: AgentMessage) => heard.push(message));
    },
  });
  const credentials = ServerCredentials.createSsl(null, [
    { cert_chain: await readFile(files.certificate), private_key: await readFile(files.key) },
  ]);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) => (error ? reject(error) : resolve(bound))),
  );
  onTestFinished(() => server.forceShutdown());
  const tokenFile = join(folder, "token");
  await writeFile(tokenFile, "first\n");
  const warnings: string[] = [];
  const client = new InspectionClient(
    {
      answers,
      hello: () => ({ version: "9" }),
      clock: systemClock,
      random: () => 0.5,
      log: { info: () => {}, warn: (_fields, message) => void warnings.push(message) },
    },
    { address: `127.0.0.1:${port}`, rootFile: files.root, tokenFile, serverName: "" },
  );
  onTestFinished(() => client.stop());
  client.start();
  const stream = async (index: number) => {
    await expect.poll(() => calls[index]?.heard.length, eventually).toBeGreaterThan(0);
    return calls[index] as (typeof calls)[number];
  };
  return { client, calls, stream, tokenFile, warnings };
}

const ask = (call: Call, number: number, kind: "listPods" | "listTunnels") =>
  call.write(create(ControlMessageSchema, { ask: BigInt(number), kind: { case: kind, value: {} } as never }));

describe("the agent's inspection stream", () => {
  test("begins with hello, and comes back with the token of then when it is lost", async () => {
    const { stream, tokenFile } = await start({});
    const first = await stream(0);
    expect(first.heard[0]?.kind).toMatchObject({ case: "hello", value: { version: "9" } });
    expect(first.token).toBe("Bearer first");
    await writeFile(tokenFile, "second\n");
    first.call.emit("error", { code: status.UNAVAILABLE, details: "time to reconnect" });
    expect((await stream(1)).token).toBe("Bearer second");
  });

  test("gives up the answers of a stream that is lost", async () => {
    let given = 0;
    const { stream } = await start({
      listPods: async function* (_ask, signal) {
        yield { case: "pods", value: {} };
        await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
        given++;
      },
    });
    const first = await stream(0);
    ask(first.call, 1, "listPods");
    await expect.poll(() => first.heard.at(-1)?.kind.case, eventually).toBe("pods");
    first.call.emit("error", { code: status.UNAVAILABLE, details: "" });
    await expect.poll(() => given, eventually).toBe(1);
  });

  test("survives an answer that can't be encoded: its own ask alone fails", async () => {
    const { stream } = await start({
      // Nanoseconds are whole.
      listPods: () => [{ case: "status", value: { now: { seconds: 0n, nanos: 0.5 } } }],
      listTunnels: () => [{ case: "tunnels", value: {} }],
    });
    const { call, heard } = await stream(0);
    ask(call, 1, "listPods");
    ask(call, 2, "listTunnels");
    const ends = () =>
      heard.flatMap(({ ask: number, kind }) => (kind.case === "end" ? [`${number} ${kind.value.errorCode}`] : []));
    await expect.poll(() => ends().sort(), eventually).toEqual(["1 MESH_INSPECT_FAILED", "2 "]);
  });

  test("stops for good, and twice", async () => {
    const { client, calls, stream } = await start({});
    const { call } = await stream(0);
    const gone = new Promise((resolve) => call.once("cancelled", resolve));
    await client.stop();
    await client.stop();
    await gone;
    expect(calls).toHaveLength(1);
  });
});
