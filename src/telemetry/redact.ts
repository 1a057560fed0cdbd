/**
 * The last look at a line before it leaves the process. Nothing in the code logs a key or a token on purpose; this catches what an
 * error text or a peer's bytes drag along. Checks are substring searches first: lines without a suspicion cost next to nothing.
 */

// In JSON the line breaks of PEM are the two characters \n, so the body is "anything up to the end marker, or what looks like base64".
const pem =
  /-----BEGIN ([A-Z0-9 ]+)-----(?:(?!-----BEGIN)[\s\S])*?-----END \1-----|-----BEGIN ([A-Z0-9 ]+)-----[A-Za-z0-9+/=\\nr\s]*/g;
const jsonWebToken = /eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*/g;
const bearer = /\b([Bb]earer|[Bb]asic) +[A-Za-z0-9._~+/=-]{8,}/g;

/** The text with PEM blocks, JSON web tokens and authorization values replaced by what they were. */
export function redact(text: string): string {
  let clean = text;
  if (clean.includes("-----BEGIN ")) {
    clean = clean.replaceAll(pem, (_block, whole?: string, open?: string) => `[redacted ${whole ?? open ?? "PEM"}]`);
  }
  if (clean.includes("eyJ")) clean = clean.replaceAll(jsonWebToken, "[redacted token]");
  if (/[Bb](earer|asic) /.test(clean)) clean = clean.replaceAll(bearer, "$1 [redacted]");
  return clean;
}
