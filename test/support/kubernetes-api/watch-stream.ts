/** One watch: events as lines of JSON, chunked, with bookmarks for who asks; and every way in which a server can let it down. */
import type { ServerResponse } from "node:http";
import { ApiFailure } from "./failure.ts";
import type { WatchFault } from "./faults.ts";
import type { ApiObject } from "./objects.ts";
import { apiVersionOf, type Resource } from "./resources.ts";
import type { Store, StoredEvent } from "./store.ts";

export interface WatchOptions {
  readonly resource: Resource;
  readonly matches: (object: ApiObject) => boolean;
  /** Empty or "0": from what there is now. */
  readonly resourceVersion: string;
  readonly bookmarks: boolean;
  readonly timeoutMs: number;
  readonly fault: WatchFault | undefined;
}

export class WatchStream {
  readonly resource: Resource;
  readonly #options: WatchOptions;
  readonly #response: ServerResponse;
  readonly #store: Store;
  #sent = 0;
  #over = false;
  /** Of a slow watch, what is still to be written. */
  #pieces: Buffer[] = [];
  #forget: () => void = () => {};

  constructor(store: Store, response: ServerResponse, options: WatchOptions) {
    this.#store = store;
    this.#response = response;
    this.#options = options;
    this.resource = options.resource;
  }

  start(): void {
    const { resourceVersion, timeoutMs, resource, matches } = this.#options;
    this.#response.writeHead(200, { "content-type": "application/json", "cache-control": "no-cache, private" });
    this.#response.flushHeaders();
    const timer = setTimeout(() => this.close(), timeoutMs).unref();
    const forget = this.#store.onEvent((event) => this.#hear(event));
    this.#forget = () => {
      clearTimeout(timer);
      forget();
      this.#over = true;
    };
    this.#response.on("close", () => this.#forget());
    this.#response.on("error", () => this.#forget());
    if (this.#misbehave()) return;
    if (resourceVersion === "" || resourceVersion === "0") {
      for (const object of this.#store.all(resource).filter(matches)) this.#send("ADDED", object);
      return;
    }
    try {
      for (const event of this.#store.since(Number(resourceVersion))) this.#hear(event);
    } catch (error) {
      if (!(error instanceof ApiFailure)) throw error;
      this.#line({ type: "ERROR", object: error.status });
      this.close();
    }
  }

  /** An orderly end, as after `timeoutSeconds`. */
  close(): void {
    this.#forget();
    this.#response.end();
  }

  reset(): void {
    this.#forget();
    this.#response.destroy();
  }

  bookmark(): void {
    if (!this.#options.bookmarks || this.#over) return;
    const { resource } = this.#options;
    const metadata = { resourceVersion: String(this.#store.version), creationTimestamp: null };
    this.#line({ type: "BOOKMARK", object: { kind: resource.kind, apiVersion: apiVersionOf(resource), metadata } });
  }

  #hear({ resource, type, object, before }: StoredEvent): void {
    if (resource !== this.#options.resource || this.#over) return;
    const { matches } = this.#options;
    const [was, is] = [before !== undefined && matches(before), type !== "DELETED" && matches(object)];
    if (is) this.#send(was ? "MODIFIED" : "ADDED", object);
    // Who left the selection is told as deleted.
    else if (was) this.#send("DELETED", object);
  }

  #send(type: string, object: ApiObject): void {
    if (this.#over) return;
    const { fault } = this.#options;
    if (fault?.kind === "watch-half-line" && this.#sent === fault.after) {
      const line = JSON.stringify({ type, object });
      this.#forget();
      this.#response.end(line.slice(0, line.length / 2));
      return;
    }
    this.#line({ type, object });
    if (fault?.kind === "watch-duplicate") this.#line({ type, object });
    this.#sent += 1;
    this.#misbehave();
  }

  /** True when the watch is over, or dead, by its fault. */
  #misbehave(): boolean {
    const { fault } = this.#options;
    if (fault === undefined || fault.kind === "watch-duplicate" || fault.kind === "watch-slow") return false;
    if (this.#sent !== fault.after) return false;
    switch (fault.kind) {
      case "watch-reset":
        // What was written before must arrive first: the reset is about what comes after.
        setImmediate(() => this.reset());
        this.#over = true;
        return true;
      case "watch-close":
        this.close();
        return true;
      case "watch-stall":
        this.#over = true;
        return true;
      case "watch-error":
        this.#line({ type: "ERROR", object: new ApiFailure(fault.code, fault.reason, "as the test wants it").status });
        this.close();
        return true;
      case "watch-garbage":
        this.#response.write("{no json\n");
        return false;
      case "watch-half-line":
        return false;
    }
  }

  #line(value: object): void {
    const { fault } = this.#options;
    const line = Buffer.from(`${JSON.stringify(value)}\n`);
    if (fault?.kind !== "watch-slow") return void this.#response.write(line);
    const idle = this.#pieces.length === 0;
    for (let at = 0; at < line.length; at += fault.bytes) this.#pieces.push(line.subarray(at, at + fault.bytes));
    if (idle) this.#dribble();
  }

  #dribble(): void {
    const [piece] = this.#pieces;
    if (piece === undefined || this.#over) return;
    this.#response.write(piece, () =>
      setImmediate(() => {
        this.#pieces.shift();
        this.#dribble();
      }),
    );
  }
}
