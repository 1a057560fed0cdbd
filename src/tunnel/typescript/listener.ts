/** Takes over a listening socket that capture made inside a pod's netns. */
import { createServer, type Server, type Socket } from "node:net";
import { MeshError } from "../../lib/errors.ts";
import type { PodListener } from "../../model/sockets.ts";
import { SocketLeg } from "./leg.ts";

export interface ListenerEvents {
  /** Paused: nothing has been read. */
  accepted(listener: PodListener, leg: SocketLeg): void;
  /** accept(2) failed, normally for want of descriptors; libuv has closed what it could not take. */
  failed(listener: PodListener, error: Error): void;
}

export function adoptListener(listener: PodListener, events: ListenerEvents, highWaterMark: number): Server {
  const server = createServer({
    // Only an application's connection may be half closed; a tunnel's ends as one.
    allowHalfOpen: listener.role !== "hbone",
    pauseOnConnect: true,
    noDelay: true,
    highWaterMark,
  });
  server.on("error", (error) => events.failed(listener, error));
  server.on("connection", (socket: Socket) => events.accepted(listener, new SocketLeg(socket)));
  server.listen({ fd: listener.fd });
  if (!server.listening) {
    throw new MeshError("MESH_LISTENER_UNUSABLE", `descriptor ${listener.fd} for ${listener.role} does not listen`);
  }
  return server;
}
