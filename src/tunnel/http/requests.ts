/** Puts the enforcer to the driver: what it may is the mesh's to say, and where the application is reached the pod's. */
import type { Socket } from "node:net";
import type { SocketOps } from "../../model/sockets.ts";
import type { DriverDeps, HandedFlow, RequestJudge } from "../driver.ts";
import { FlowEnd } from "../engine.ts";
import { dial } from "../typescript/dial.ts";
import type { HttpEnforcerDeps, HttpEnforcerOptions } from "./enforcement.ts";
import { HttpEnforcer } from "./http-enforcer.ts";

export interface HttpRequestsDeps extends Pick<HttpEnforcerDeps, "internalError"> {
  readonly sockets: SocketOps;
  requestEnded(...told: [...Parameters<HttpEnforcerDeps["requestEnded"]>, ReturnType<RequestJudge["localPod"]>]): void;
}

export interface HttpRequestsOptions extends HttpEnforcerOptions {
  readonly connectTimeout: number;
}

/** Bytes that a socket to an application reads at once, and may have waiting. */
const highWaterMark = 65_536;

export function httpRequests(
  deps: HttpRequestsDeps,
  options: HttpRequestsOptions,
): NonNullable<DriverDeps["requests"]> {
  return (judge) =>
    new HttpEnforcer(
      {
        authorize: (flow, request) => judge.authorize(flow, request),
        dialUpstream: (flow, signal) => dialApplication(deps.sockets, judge, { flow, signal, options }),
        requestEnded: (record) => deps.requestEnded(record, judge.localPod(record.flow.pod)),
        internalError: (error) => deps.internalError(error),
      },
      options,
    );
}

function dialApplication(
  sockets: SocketOps,
  judge: RequestJudge,
  wanted: { readonly flow: HandedFlow; readonly signal: AbortSignal; readonly options: HttpRequestsOptions },
): Promise<Socket> {
  const { flow, signal, options } = wanted;
  const { source, destination } = flow;
  const pod = judge.podSockets(flow.pod);
  if (pod === undefined) return Promise.reject(new FlowEnd("pod-removed"));
  return new Promise((resolve, reject) => {
    const giveUp = dial(
      sockets,
      {
        netns: pod.netns.fd,
        purpose: "deliver",
        mark: pod.marks.deliver,
        destination,
        // A pod that talks to itself keeps its address without being given it.
        sourceAddress: source.address === destination.address ? undefined : source.address,
        timeoutMs: options.connectTimeout,
        allowHalfOpen: true,
        highWaterMark,
      },
      (result) => {
        signal.removeEventListener("abort", abort);
        if (result.kind === "connected") resolve(result.leg.duplex);
        else reject(new FlowEnd(result.reason));
      },
    );
    const abort = () => {
      giveUp();
      reject(new FlowEnd("reset-by-source"));
    };
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  });
}
