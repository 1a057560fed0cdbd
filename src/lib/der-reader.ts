/** Reads DER (X.690 §10): just what CRLs, certificate names and TLS session parameters need. Throws on anything malformed. */
import { MeshError } from "./errors.ts";

export interface DerElement {
  readonly tag: number;
  /** Tag, length and contents. */
  readonly raw: Buffer;
  readonly contents: Buffer;
}

function malformed(what: string): MeshError {
  return new MeshError("MESH_DER_MALFORMED", `malformed DER: ${what}; is this the right kind of file?`);
}

/** The elements that fill `bytes` exactly, one after the other. */
export function derElements(bytes: Buffer): DerElement[] {
  const elements: DerElement[] = [];
  let at = 0;
  while (at < bytes.length) {
    const element = elementAt(bytes, at);
    elements.push(element);
    at += element.raw.length;
  }
  return elements;
}

/** The one element that fills `bytes`. */
export function derElement(bytes: Buffer): DerElement {
  const element = elementAt(bytes, 0);
  if (element.raw.length !== bytes.length) throw malformed("bytes after the end");
  return element;
}

function elementAt(bytes: Buffer, at: number): DerElement {
  const tag = bytes[at];
  let length = bytes[at + 1];
  if (tag === undefined || length === undefined) throw malformed("cut short");
  // High tag numbers (X.690 §8.1.2.4) do not occur in the structures read here.
  if ((tag & 0x1f) === 0x1f) throw malformed("a tag of several bytes");
  let start = at + 2;
  if (length >= 0x80) {
    const octets = length & 0x7f;
    if (octets === 0 || octets > 4 || start + octets > bytes.length)
      throw malformed("a length that DER does not allow");
    length = bytes.readUIntBE(start, octets);
    start += octets;
  }
  if (start + length > bytes.length) throw malformed("cut short");
  return { tag, raw: bytes.subarray(at, start + length), contents: bytes.subarray(start, start + length) };
}
