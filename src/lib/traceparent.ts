/** `traceparent` of W3C Trace Context, §3.2: version 00 only, its four fields in lower-case hexadecimal, neither id all zero. */

export interface TraceContext {
  readonly traceId: string;
  /** Of the span that asks: the parent of whoever receives it. */
  readonly spanId: string;
  /** Whether who asks records its span (§3.2.2.5.1); the other flags are not ours to know. */
  readonly sampled: boolean;
}

const form = /^00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})$/;

/** Undefined for anything that is not exactly one. */
export function parseTraceparent(text: string): TraceContext | undefined {
  const [, traceId, spanId, flags] = form.exec(text) ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return undefined;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

export function formatTraceparent({ traceId, spanId, sampled }: TraceContext): string {
  return `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`;
}
