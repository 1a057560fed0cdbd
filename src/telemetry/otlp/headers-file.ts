/** Headers that a collector wants, such as an API key, from a file that only the agent can read: one `name: value` per line. */
import { MeshError } from "../../lib/errors.ts";

/** RFC 9110 §5.1: a field name is a token; values here are visible ASCII with spaces between. */
const lineForm = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)[ \t]*$/;

/** Empty lines and those that start with # say nothing. What is wrong is told by its line's number: the line may hold a key. */
export function parseHeaders(text: string): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const [, name, value] = lineForm.exec(line) ?? [];
    if (name === undefined || value === undefined) {
      throw new MeshError("MESH_OTLP_HEADERS", `line ${index + 1} is not a header; write it like name: value`);
    }
    headers[name.toLowerCase()] = value;
  }
  return headers;
}
