/** Refusals of the API as `metav1.Status` tells them. */
import type { Resource } from "./resources.ts";

export class ApiFailure extends Error {
  readonly code: number;
  readonly reason: string;
  readonly headers: Readonly<Record<string, string>>;

  constructor(code: number, reason: string, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.code = code;
    this.reason = reason;
    this.headers = headers;
  }

  get status(): object {
    const { code, reason, message } = this;
    return { kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, reason, code };
  }
}

export function notFound({ plural }: Pick<Resource, "plural">, name: string): ApiFailure {
  return new ApiFailure(404, "NotFound", `${plural} "${name}" not found`);
}

/** What no API is behind is refused by the HTTP server, in plain text. */
export class NoSuchPath extends ApiFailure {}

export function noSuchPath(): NoSuchPath {
  return new NoSuchPath(404, "NotFound", "404 page not found\n");
}

export function conflict({ plural }: Pick<Resource, "plural">, name: string): ApiFailure {
  const why = "the object has been modified; please apply your changes to the latest version and try again";
  return new ApiFailure(409, "Conflict", `Operation cannot be fulfilled on ${plural} "${name}": ${why}`);
}

export function expired(message: string): ApiFailure {
  return new ApiFailure(410, "Expired", message);
}

export function badRequest(message: string): ApiFailure {
  return new ApiFailure(400, "BadRequest", message);
}
