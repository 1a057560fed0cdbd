/** How a line of key=value text is written, for the agent's log and the access log alike. */

export type LogFormat = "text" | "json";
export type FieldValue = string | number | boolean | undefined;

/** A value as it stands after `key=`: quoted as JSON when it holds anything that could pass for another field or another line. */
export function fieldText(value: string | number | boolean): string {
  const text = String(value);
  return /^[\w.:/@+,;*[\]{}()<>|~^%$#!?&-]+$/.test(text) ? text : JSON.stringify(text);
}

/** `key=value` pairs of the fields that have a value. */
export function fieldsText(fields: Iterable<readonly [string, FieldValue]>): string {
  let text = "";
  for (const [key, value] of fields) {
    if (value !== undefined && value !== "") text += `${text === "" ? "" : " "}${key}=${fieldText(value)}`;
  }
  return text;
}
