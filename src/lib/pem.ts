/** PEM text (RFC 7468): many objects in one text, the way certificates travel in files and messages. */

/** Wraps DER in a PEM block. */
export function toPem(label: string, bytes: Uint8Array): string {
  const lines =
    Buffer.from(bytes)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

/** The blocks of one label in a text, in order, each ending in a line break; other text between them is skipped (RFC 7468 §5.2). */
export function pemBlocks(text: string, label: string): string[] {
  const blocks = text.match(new RegExp(`-----BEGIN ${label}-----[A-Za-z0-9+/=\\s]*-----END ${label}-----`, "g")) ?? [];
  return blocks.map((block) => `${block}\n`);
}
