import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { AgentLost, AgentStream, firstWindow } from "../../../src/control/inspection/agent-stream.ts";
import {
  type AgentMessage,
  AgentMessageSchema,
  type ControlMessage,
} from "../../../src/xds/gen/warren/inspect/v1/inspect_pb.ts";

const never = new AbortController().signal;
const ask = { case: "listPods", value: {} } as unknown as ControlMessage["kind"];

function connect() {
  const sent: ControlMessage[] = [];
  const stream = new AgentStream(
    { send: (message) => void sent.push(message) },
    { node: "w1", peer: "p", connectedAt: 0 },
  );
  stream.receive(create(AgentMessageSchema, { kind: { case: "hello", value: { version: "1" } } }));
  const pods = (number: number, name: string) =>
    stream.receive(
      create(AgentMessageSchema, { ask: BigInt(number), kind: { case: "pods", value: { pods: [{ name }] } } }),
    );
  const end = (number: number) =>
    stream.receive(create(AgentMessageSchema, { ask: BigInt(number), kind: { case: "end", value: {} } }));
  return { stream, sent, pods, end };
}

const names = (messages: readonly AgentMessage[]) =>
  messages.map(({ kind }) => (kind.case === "pods" ? kind.value.pods[0]?.name : kind.case));

async function all(messages: AsyncIterable<AgentMessage>): Promise<AgentMessage[]> {
  const found: AgentMessage[] = [];
  for await (const message of messages) found.push(message);
  return found;
}

describe("asks on one stream", () => {
  test("are answered side by side, each by its number", async () => {
    const { stream, sent, pods, end } = connect();
    const [one, two] = [all(stream.ask(ask, never)), all(stream.ask(ask, never))];
    await new Promise(setImmediate);
    expect(sent.map((message) => message.ask)).toEqual([1n, 2n]);
    pods(2, "b");
    pods(1, "a");
    end(2);
    end(1);
    expect(names(await one)).toEqual(["a", "end"]);
    expect(names(await two)).toEqual(["b", "end"]);
  });

  test("allow more as their reader takes, and not before", async () => {
    const { stream, sent, pods, end } = connect();
    const reader = stream.ask(ask, never);
    const first = reader.next();
    for (let index = 0; index < firstWindow; index++) expect(pods(1, String(index))).toBeUndefined();
    await first;
    expect(sent.filter(({ kind }) => kind.case === "more")).toEqual([]);
    for (let index = 1; index <= firstWindow / 2; index++) await reader.next();
    expect(sent.filter(({ kind }) => kind.case === "more").map(({ kind }) => kind.value)).toMatchObject([
      { messages: firstWindow / 2 },
    ]);
    expect(pods(1, "later")).toBeUndefined();
    end(1);
    expect((await all(reader)).at(-1)?.kind.case).toBe("end");
  });

  test("an agent that sends more than was allowed is told off", async () => {
    const { stream, pods } = connect();
    void stream.ask(ask, never).next();
    for (let index = 0; index < firstWindow; index++) pods(1, "");
    expect(pods(1, "")).toMatch(/more than was allowed/);
  });

  test("are cancelled when the reader leaves, or aborts; late answers are no fault", async () => {
    const { stream, sent, pods } = connect();
    const stop = new AbortController();
    const reader = stream.ask(ask, stop.signal);
    const waiting = reader.next();
    stop.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
    const other = stream.ask(ask, never);
    const first = other.next();
    pods(2, "a");
    await first;
    await other.return();
    expect(sent.filter(({ kind }) => kind.case === "cancel").map((message) => message.ask)).toEqual([1n, 2n]);
    expect(pods(1, "late")).toBeUndefined();
    expect(pods(9, "of nobody")).toMatch(/nothing was asked/);
  });

  test("end with AgentLost when the stream does, once what came was read", async () => {
    const { stream, pods } = connect();
    const reader = stream.ask(ask, never);
    const first = reader.next();
    pods(1, "a");
    stream.close();
    expect((await first).value).toMatchObject({ kind: { case: "pods" } });
    await expect(reader.next()).rejects.toBeInstanceOf(AgentLost);
    await expect(stream.ask(ask, never).next()).rejects.toBeInstanceOf(AgentLost);
  });
});

test("hello comes first, and once", () => {
  const stream = new AgentStream({ send: () => {} }, { node: "w1", peer: "", connectedAt: 0 });
  expect(stream.receive(create(AgentMessageSchema, { ask: 1n, kind: { case: "end", value: {} } }))).toMatch(
    /hello comes first/,
  );
  const hello = create(AgentMessageSchema, { kind: { case: "hello", value: { node: "another" } } });
  expect(stream.receive(hello)).toBeUndefined();
  // What it calls itself changes nothing about which node it is.
  expect(stream.node).toBe("w1");
  expect(stream.receive(hello)).toMatch(/before/);
});
