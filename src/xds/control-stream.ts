/** One stream of an agent to control, on a connection of its own: the next one may lead to another replica. Reconnecting is the callers'. */
import { readFile } from "node:fs/promises";
import type { ClientDuplexStream, MethodDefinition, StatusObject } from "@grpc/grpc-js";
import { bearer, type ControlAddress, createControlClient } from "./control-client.ts";

export interface ControlStreamOptions extends ControlAddress {
  /** PEM of the roots that control's certificate must lead to; read for each stream. */
  readonly rootFile: string;
  /** The bearer token that says which node this is; read for each stream, because projected tokens rotate. */
  readonly tokenFile: string;
}

/** `requestSerialize` and `responseDeserialize` are the caller's, who may want a message's bytes. */
export type StreamMethod<O, I> = Pick<MethodDefinition<O, I>, "path" | "requestSerialize" | "responseDeserialize">;

/** Opens a stream, lends it to `use` together with how it ends and the token that it shows, and closes it and its connection after that. */
export async function withControlStream<O, I, Result>(
  { path, requestSerialize, responseDeserialize }: StreamMethod<O, I>,
  options: ControlStreamOptions & { readonly largestMessage: number },
  use: (stream: ClientDuplexStream<O, I>, ended: Promise<StatusObject>, token: string) => Promise<Result>,
  signal: AbortSignal,
): Promise<Result> {
  const { rootFile, tokenFile } = options;
  const [root, token] = await Promise.all([readFile(rootFile, "utf8"), readFile(tokenFile, "utf8")]);
  signal.throwIfAborted();
  const client = createControlClient({ ...options, root });
  const stream = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, bearer(token));
  const cancel = () => stream.cancel();
  signal.addEventListener("abort", cancel, { once: true });
  const ended = Promise.withResolvers<StatusObject>();
  // The status says the same as the error; without a listener the error would end the process.
  stream.on("error", () => {});
  stream.on("status", ended.resolve);
  try {
    return await use(stream, ended.promise, token);
  } finally {
    signal.removeEventListener("abort", cancel);
    stream.cancel();
    client.close();
  }
}
