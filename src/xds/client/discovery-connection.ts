/** One stream to the control plane: who we are, the first requests, and raw responses in turn. Reconnecting is the source's. */
import { create } from "@bufbuild/protobuf";
import { type ClientDuplexStream, status } from "@grpc/grpc-js";
import { MeshError, messageOf } from "../../lib/errors.ts";
import { Slices } from "../../lib/slices.ts";
import { type ControlStreamOptions, withControlStream } from "../control-stream.ts";
import {
  AggregatedDiscoveryService,
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
} from "../gen/envoy/service/discovery/v3/discovery_pb.ts";
import { grpcMethod } from "../grpc-service.ts";
import { chunkedKey, resourceTypes } from "../resources/resource-types.ts";
import type { DiscoveryState } from "./discovery-state.ts";
import { type RawResponse, readResponse } from "./response-reader.ts";
import { tokenAccount } from "./token-account.ts";

export interface ConnectionOptions extends ControlStreamOptions {
  readonly node: string;
}

const method = {
  ...grpcMethod(AggregatedDiscoveryService.method.deltaAggregatedResources),
  // Responses are decoded a resource at a time, by `readResponse`.
  responseDeserialize: (bytes: Buffer) => bytes,
};
const largestResponse = 200 * 1024 * 1024;
/** Held versions go out in requests of about this many bytes: the control plane takes no large ones. */
const requestBytes = 32 * 1024;

type Stream = ClientDuplexStream<DeltaDiscoveryRequest, Buffer>;

/** Resolves when the stream ends well, rejects when it fails; `applied` is called after each response that was taken. */
export async function followDiscovery(
  state: DiscoveryState,
  options: ConnectionOptions,
  events: { readonly applied: (typeUrl: string, more: boolean) => void },
  signal: AbortSignal,
): Promise<void> {
  await withControlStream(
    method,
    { ...options, largestMessage: largestResponse },
    async (stream, ended, token) => {
      // What is held of a large mesh are thousands of names.
      const slices = new Slices();
      for (const request of firstRequests(state, whoWeAre(state, options.node, token))) {
        stream.write(request);
        if (slices.due) await slices.rest();
      }
      await takeResponses(stream, state, events);
      const { code, details } = await ended;
      signal.throwIfAborted();
      if (code !== status.OK) throw explain(code, details, options);
    },
    signal,
  );
}

async function takeResponses(
  stream: Stream,
  state: DiscoveryState,
  events: Parameters<typeof followDiscovery>[2],
): Promise<void> {
  const slices = new Slices();
  try {
    // One at a time: the stream waits while a response is put in force.
    for await (const bytes of stream as AsyncIterable<Buffer>) {
      const response = readResponse(bytes);
      const wrong = await state.apply(response);
      stream.write(answerTo(response, wrong));
      events.applied(response.typeUrl, response.more);
      // Many short ones that are here already would be one long turn of the event loop.
      if (slices.due) await slices.rest();
    }
  } catch (error) {
    // How a call ends is told by its status; only what goes wrong on our side is thrown here.
    if (!(error instanceof Error && "code" in error && typeof error.code === "number")) throw error;
  }
}

function answerTo({ typeUrl, nonce }: RawResponse, wrong: string): DeltaDiscoveryRequest {
  const base = { typeUrl, responseNonce: nonce };
  if (wrong === "") return create(DeltaDiscoveryRequestSchema, base);
  return create(DeltaDiscoveryRequestSchema, {
    ...base,
    errorDetail: { code: status.INVALID_ARGUMENT, message: wrong },
  });
}

/** Everything of each type, but what we hold already. */
function* firstRequests(state: DiscoveryState, who: Who): Iterable<DeltaDiscoveryRequest> {
  // Istio's control plane does not know requests in parts.
  const partBytes = state.dialect === "warren" ? requestBytes : Number.POSITIVE_INFINITY;
  for (const type of state.types) {
    const typeUrl = resourceTypes[type];
    let versions: [string, string][] = [];
    let bytes = 0;
    for (const [name, version] of state.versions(type)) {
      versions.push([name, version]);
      bytes += name.length + version.length + 8;
      if (bytes < partBytes) continue;
      yield create(DeltaDiscoveryRequestSchema, {
        typeUrl,
        node: who,
        resourceNamesSubscribe: ["*"],
        initialResourceVersions: Object.fromEntries(versions),
        more: true,
      });
      versions = [];
      bytes = 0;
    }
    yield create(DeltaDiscoveryRequestSchema, {
      typeUrl,
      node: who,
      resourceNamesSubscribe: ["*"],
      initialResourceVersions: Object.fromEntries(versions),
    });
  }
}

interface Who {
  readonly id: string;
  readonly metadata: Readonly<Record<string, string | boolean>>;
}

function whoWeAre({ dialect, index }: DiscoveryState, node: string, token: string): Who {
  if (dialect === "warren") return { id: `warren~${node}`, metadata: { NODE_NAME: node, [chunkedKey]: true } };
  const { rootNamespace, clusterDomain, cluster } = index.settings;
  // What istiod reads out of it: that this is a proxy of nodes, which wants workloads, and which one. It refuses whoever names another
  // namespace than its token, and the mesh's root namespace is often not ours.
  const { namespace = rootNamespace, pod = `warren-${node}` } = tokenAccount(token) ?? {};
  return {
    id: `ztunnel~0.0.0.0~${pod}.${namespace}~${namespace}.svc.${clusterDomain}`,
    metadata: { NAME: pod, NAMESPACE: namespace, NODE_NAME: node, CLUSTER_ID: cluster },
  };
}

function explain(code: status, details: string, { address, rootFile, tokenFile }: ConnectionOptions): MeshError {
  const why =
    code === status.UNAUTHENTICATED
      ? `does not accept the token in ${tokenFile}`
      : code === status.UNAVAILABLE
        ? `cannot be reached, is stopping, or its certificate does not lead to the root in ${rootFile}`
        : `ended discovery with ${status[code]}`;
  return new MeshError("MESH_DISCOVERY_LOST", `the control plane ${address} ${why}: ${messageOf(details)}`);
}
