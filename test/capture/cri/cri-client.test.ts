/** Against a double of the runtime that speaks gRPC by another implementation's server. */
import { join } from "node:path";
import {
  create,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData, status } from "@grpc/grpc-js";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { CriClient } from "../../../src/capture/cri/cri-client.ts";
import {
  ListPodSandboxRequestSchema,
  ListPodSandboxResponseSchema,
  PodSandboxState,
  PodSandboxStatusRequestSchema,
  PodSandboxStatusResponseSchema,
  RuntimeService,
} from "../../../src/capture/cri/gen/runtime/v1/api_pb.ts";
import { netnsPathOf } from "../../../src/capture/cri/sandbox-info.ts";
import { RuntimeSocket } from "../../../src/lab/kubelet/runtime-socket.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

/** What containerd 1.7 tells of a running sandbox, shortened. */
const containerd = {
  pid: 4242,
  processStatus: "running",
  netNamespaceClosed: false,
  image: "registry.k8s.io/pause:3.8",
  runtimeHandler: "",
  runtimeSpec: {
    ociVersion: "1.1.0",
    linux: {
      cgroupsPath: "kubepods-besteffort-pod8a6f.slice:cri-containerd:77ab",
      namespaces: [
        { type: "pid" },
        { type: "ipc" },
        { type: "uts" },
        { type: "mount" },
        { type: "network", path: "/var/run/netns/cni-5e3e0f4d" },
      ],
    },
  },
};

/** What CRI-O tells of a sandbox whose infra container was dropped. */
const crio = {
  image: "",
  pid: 0,
  runtimeSpec: {
    ociVersion: "1.0.0",
    linux: { namespaces: [{ type: "network", path: "/var/run/netns/0e8b" }, { type: "mount" }] },
  },
};

describe("where a sandbox's netns is", () => {
  it.each<[string, unknown, string | undefined]>([
    ["containerd", containerd, "/var/run/netns/cni-5e3e0f4d"],
    ["CRI-O", crio, "/var/run/netns/0e8b"],
    [
      "a process without a path",
      { pid: 7, runtimeSpec: { linux: { namespaces: [{ type: "network" }] } } },
      "/host/proc/7/ns/net",
    ],
    ["a sandbox that is only being made", { pid: 0, runtimeSpec: null }, undefined],
    ["a path that is none", { runtimeSpec: { linux: { namespaces: [{ type: "network", path: 5 }] } } }, undefined],
    [
      "a path that is relative",
      { runtimeSpec: { linux: { namespaces: [{ type: "network", path: "../x" }] } } },
      undefined,
    ],
    ["something else", ["x"], undefined],
  ])("is read from what %s tells", (_, told, expected) => {
    expect(netnsPathOf(JSON.stringify(told), "/host/proc")).toBe(expected);
  });

  it("is not in what is no JSON", () => {
    expect(netnsPathOf("pid: 7", "/proc")).toBeUndefined();
  });
});

interface Sandbox {
  readonly id: string;
  readonly uid: string;
  readonly createdAt: bigint;
  readonly state?: PodSandboxState;
  readonly info?: unknown;
}

let socket: string;
beforeEach(async () => {
  socket = join(await temporaryFolder(), "cri.sock");
});

/** A runtime that filters or, like old ones, leaves that to whoever asks. */
async function runtime(sandboxes: readonly Sandbox[], options: { filters: boolean }): Promise<Server> {
  const server = new Server();
  const method = <I extends DescMessage, O extends DescMessage>(name: string, input: I, output: O) => ({
    path: `/${RuntimeService.typeName}/${name}`,
    requestStream: false,
    responseStream: false,
    requestSerialize: (value: MessageShape<I>) => Buffer.from(toBinary(input, value)),
    requestDeserialize: (bytes: Buffer) => fromBinary(input, bytes),
    responseSerialize: (value: MessageInitShape<O>) => Buffer.from(toBinary(output, create(output, value))),
    responseDeserialize: (bytes: Buffer) => fromBinary(output, bytes),
  });
  server.addService(
    {
      list: method("ListPodSandbox", ListPodSandboxRequestSchema, ListPodSandboxResponseSchema),
      status: method("PodSandboxStatus", PodSandboxStatusRequestSchema, PodSandboxStatusResponseSchema),
    },
    {
      list: (
        { request }: ServerUnaryCall<MessageShape<typeof ListPodSandboxRequestSchema>, unknown>,
        answer: sendUnaryData<unknown>,
      ) => {
        const wanted = request.filter?.labelSelector["io.kubernetes.pod.uid"];
        const items = sandboxes
          .filter(
            ({ uid, state = 0 }) => !options.filters || (uid === wanted && state === request.filter?.state?.state),
          )
          .map(({ id, uid, createdAt, state = 0 }) => ({
            id,
            createdAt,
            state,
            metadata: { uid, name: "web-0", namespace: "shop" },
          }));
        answer(null, { items });
      },
      status: (
        { request }: ServerUnaryCall<MessageShape<typeof PodSandboxStatusRequestSchema>, unknown>,
        answer: sendUnaryData<unknown>,
      ) => {
        const found = sandboxes.find(({ id }) => id === request.podSandboxId);
        if (found === undefined) answer({ code: status.NOT_FOUND, details: "no such sandbox" });
        else answer(null, { info: request.verbose ? { info: JSON.stringify(found.info) } : {} });
      },
    },
  );
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.bindAsync(`unix://${socket}`, ServerCredentials.createInsecure(), (error) =>
    error === null ? resolve() : reject(error),
  );
  await promise;
  onTestFinished(() => server.forceShutdown());
  return server;
}

function asking(timeoutMs = 60_000): CriClient {
  const client = new CriClient({ socket, timeoutMs, procRoot: "/proc" });
  onTestFinished(() => client.close());
  return client;
}

describe("asking the container runtime", () => {
  const sandboxes: Sandbox[] = [
    { id: "old", uid: "uid-a", createdAt: 1n, info: crio },
    { id: "new", uid: "uid-a", createdAt: 2n, info: containerd },
    { id: "ended", uid: "uid-a", createdAt: 3n, state: PodSandboxState.SANDBOX_NOTREADY, info: crio },
    { id: "others", uid: "uid-b", createdAt: 4n, info: crio },
  ];

  it.each([true, false])("finds the newest sandbox that is ready (runtime filters: %s)", async (filters) => {
    await runtime(sandboxes, { filters });
    const client = asking();
    expect(await client.netnsPath("uid-a")).toBe("/var/run/netns/cni-5e3e0f4d");
    expect(await client.netnsPath("uid-c")).toBeUndefined();
  });

  it("says which runtime does not answer, and finds it when it is back", async () => {
    const client = asking(500);
    await expect(client.netnsPath("uid-a")).rejects.toMatchObject({
      code: "MESH_CRI_FAILED",
      message: expect.stringContaining(socket) as string,
    });
    await runtime(sandboxes, { filters: true });
    await expect
      .poll(() => client.netnsPath("uid-a").catch(() => "not yet"), { timeout: 30_000 })
      .toBe("/var/run/netns/cni-5e3e0f4d");
  });

  it("understands the lab's stand-in", async () => {
    const sandbox = { container: "c1", uid: "uid-a", name: "web-0", namespace: "shop", pid: 1, createdAt: new Date() };
    const standIn = new RuntimeSocket(() => [{ ...sandbox, netns: "/proc/1/ns/net" }]);
    await standIn.listen(socket);
    onTestFinished(() => standIn.close());
    const client = asking();
    expect(await client.netnsPath("uid-a")).toBe("/proc/1/ns/net");
    expect(await client.netnsPath("uid-b")).toBeUndefined();
  });
});
