/**
 * Header fields as Node lists them: name, value, name, value, in the order and letter case of the wire. Forwarding takes the same
 * list, without the fields that belong to one connection only (RFC 9110 §7.6.1).
 */

export type Fields = readonly string[];

/** Fields that no one sends on, whether the `Connection` field names them or not. */
const connectionFields: ReadonlySet<string> = new Set([
  "connection",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade",
]);

/** Fields that a `Connection` field cannot take away: without them the message would be another one. */
const messageFields: ReadonlySet<string> = new Set(["content-length", "host", "expect"]);

/** What a trailer may not say, because it was too late for it (RFC 9110 §6.5.1). */
const headerOnlyFields: ReadonlySet<string> = new Set([
  ...connectionFields,
  ...messageFields,
  "authorization",
  "cache-control",
  "content-encoding",
  "content-range",
  "content-type",
  "cookie",
  "max-forwards",
  "proxy-authorization",
  "range",
  "set-cookie",
  "trailer",
]);

export function* pairs(fields: Fields): Iterable<[name: string, value: string]> {
  for (let index = 0; index + 1 < fields.length; index += 2) yield [fields[index] ?? "", fields[index + 1] ?? ""];
}

/** All values of a field; `name` in lower case. */
export function valuesOf(fields: Fields, name: string): string[] {
  const values: string[] = [];
  for (const [field, value] of pairs(fields)) if (field.toLowerCase() === name) values.push(value);
  return values;
}

/** The comma-separated members of a field, in lower case. */
export function membersOf(fields: Fields, name: string): string[] {
  return valuesOf(fields, name)
    .flatMap((value) => value.split(","))
    .map((member) => member.trim().toLowerCase())
    .filter((member) => member !== "");
}

/** What goes on to the next hop. */
export function endToEnd(fields: Fields): string[] {
  const named = new Set(membersOf(fields, "connection").filter((name) => !messageFields.has(name)));
  return without(fields, (name) => connectionFields.has(name) || named.has(name));
}

export function forwardableTrailers(fields: Fields): string[] {
  return without(fields, (name) => headerOnlyFields.has(name));
}

export function without(fields: Fields, drop: (name: string) => boolean): string[] {
  const kept: string[] = [];
  for (const [name, value] of pairs(fields)) if (!drop(name.toLowerCase())) kept.push(name, value);
  return kept;
}
