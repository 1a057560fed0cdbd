/** Istio's CNI agent, as far as it says what a test tells it. */
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  Version,
  WorkloadRequestSchema,
  WorkloadResponseSchema,
  ZdsHelloSchema,
} from "../../src/xds/gen/istio/workload/zds_pb.ts";
import { SeqpacketServer } from "./seqpacket-server.ts";

export type ZdsPayload = NonNullable<MessageInitShape<typeof WorkloadRequestSchema>["payload"]>;

export function added(uid: string, name: string, namespace = "production", serviceAccount = name): ZdsPayload {
  return { case: "add", value: { uid, workloadInfo: { name, namespace, serviceAccount } } };
}

export class ScriptedCniAgent {
  readonly #server: SeqpacketServer;

  private constructor(server: SeqpacketServer) {
    this.#server = server;
  }

  static async listen(path: string): Promise<ScriptedCniAgent> {
    return new ScriptedCniAgent(await SeqpacketServer.listen(path));
  }

  /** Waits for a proxy and its greeting. */
  async accept(): Promise<void> {
    await this.#server.line("connected");
    const { version } = fromBinary(ZdsHelloSchema, await this.#server.message());
    if (version !== Version.V1) throw new Error(`the proxy speaks version ${version}`);
  }

  /** The error of the answer; empty when all is well. */
  async ask(payload: ZdsPayload, ...netns: readonly string[]): Promise<string> {
    this.#server.send(toBinary(WorkloadRequestSchema, create(WorkloadRequestSchema, { payload })), ...netns);
    return this.answer();
  }

  async askRaw(bytes: Uint8Array, ...netns: readonly string[]): Promise<string> {
    this.#server.send(bytes, ...netns);
    return this.answer();
  }

  async answer(): Promise<string> {
    const { payload } = fromBinary(WorkloadResponseSchema, await this.#server.message());
    return payload.value?.error ?? "no answer";
  }

  async gone(): Promise<void> {
    await this.#server.line("gone");
  }

  hangUp(): void {
    this.#server.hangUp();
  }

  stop(): Promise<void> {
    return this.#server.stop();
  }
}

export const snapshotSent: ZdsPayload = { case: "snapshotSent", value: {} };
