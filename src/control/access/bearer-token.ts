import type { Metadata } from "@grpc/grpc-js";

/** The token that a caller shows; empty when there is none. */
export function bearerToken(metadata: Metadata): string {
  const [header] = metadata.get("authorization");
  return typeof header === "string" ? (/^Bearer (\S+)$/i.exec(header)?.[1] ?? "") : "";
}
