/** What the control plane asks of a Kubernetes API, as an interface: everything here is tested without a client library behind it. */
import { MeshError } from "../../lib/errors.ts";

/** JSON as it came: whoever reads it checks it first. */
export type RawObject = Readonly<Record<string, unknown>>;

export type ApiQuery = Readonly<Record<string, string>>;

export interface ApiCall {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly path: string;
  readonly query?: ApiQuery;
  readonly body?: object;
  /** For PATCH: what kind of patch it is. */
  readonly contentType?: "application/merge-patch+json";
}

/** The answer was a refusal, or there was none. */
export class ApiError extends MeshError {
  /** HTTP status; 0 when nobody answered. */
  readonly status: number;
  /** `metav1.Status.reason`: `NotFound`, `Conflict`, `Forbidden`, `Expired`, …; empty when unknown. */
  readonly reason: string;
  /** How long the server wants to be left alone; 0 when it did not say. */
  readonly retryAfterMs: number;

  constructor(message: string, options: { status: number; reason?: string; retryAfterMs?: number; cause?: unknown }) {
    super(
      options.status === 0 ? "MESH_KUBERNETES_UNREACHABLE" : "MESH_KUBERNETES_REFUSED",
      message,
      options.cause === undefined ? {} : { cause: options.cause },
    );
    this.status = options.status;
    this.reason = options.reason ?? "";
    this.retryAfterMs = options.retryAfterMs ?? 0;
  }
}

export function isApiError(error: unknown, status: number): error is ApiError {
  return error instanceof ApiError && error.status === status;
}

export interface WatchEvent {
  readonly type: string;
  readonly object: RawObject;
}

export interface KubernetesApi {
  /** The answer's JSON; rejects with `ApiError`, or with the signal's reason. */
  call(call: ApiCall, signal: AbortSignal): Promise<RawObject>;
  /**
   * Resolves when the server ended the watch in good order, rejects with `ApiError` otherwise, and with the signal's reason as soon as
   * that aborts: then `onEvent` is not called any more.
   */
  watch(path: string, query: ApiQuery, onEvent: (event: WatchEvent) => void, signal: AbortSignal): Promise<void>;
}
