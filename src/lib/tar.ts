/** A tar archive out of texts, as POSIX ustar has it (IEEE Std 1003.1, pax, "ustar Interchange Format"): what any tar reads. */

export interface TarEntry {
  /** At most 100 bytes, folders with `/`. */
  readonly path: string;
  readonly text: string;
}

const block = 512;

export function tar(entries: readonly TarEntry[], options: { readonly modifiedAt: number }): Buffer {
  const parts = entries.flatMap(({ path, text }) => {
    const body = Buffer.from(text);
    return [header(path, body.length, options.modifiedAt), body, Buffer.alloc((block - (body.length % block)) % block)];
  });
  return Buffer.concat([...parts, Buffer.alloc(2 * block)]);
}

function header(path: string, size: number, modifiedAt: number): Buffer {
  if (Buffer.byteLength(path) > 100) throw new RangeError(`${path} is too long a path for a tar archive`);
  const field = Buffer.alloc(block);
  const octal = (value: number, width: number) => value.toString(8).padStart(width - 1, "0");
  field.write(path, 0);
  field.write(octal(0o600, 8), 100);
  field.write(octal(0, 8), 108);
  field.write(octal(0, 8), 116);
  field.write(octal(size, 12), 124);
  field.write(octal(Math.floor(modifiedAt / 1000), 12), 136);
  // The checksum is taken with blanks in its own place.
  field.fill(" ", 148, 156);
  field.write("0", 156);
  field.write("ustar\u000000", 257);
  const sum = field.reduce((total, byte) => total + byte, 0);
  field.write(`${octal(sum, 7)}\u0000 `, 148);
  return field;
}
