/** Protobuf's wire format read without a schema, so that what an exporter wrote is not read back by its own code. */

/** The values of each field number, in order: numbers of varints, bytes of everything else. */
export type Message = ReadonlyMap<number, readonly (bigint | Buffer)[]>;

export function readMessage(bytes: Buffer): Message {
  const fields = new Map<number, (bigint | Buffer)[]>();
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes.readUInt8(at++);
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const take = (length: number) => {
    if (at + length > bytes.length) throw new Error("the message is cut");
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const values = fields.get(tag >> 3) ?? [];
    fields.set(tag >> 3, values);
    const type = tag & 7;
    if (type === 0) values.push(varint());
    else if (type === 1) values.push(take(8));
    else if (type === 2) values.push(take(Number(varint())));
    else if (type === 5) values.push(take(4));
    else throw new Error(`wire type ${type}`);
  }
  return fields;
}

export function messages(of: Message, field: number): Message[] {
  return (of.get(field) ?? []).map((value) => readMessage(bytesOf(value)));
}

export function text(of: Message, field: number): string {
  return bytes(of, field).toString();
}

export function hex(of: Message, field: number): string {
  return bytes(of, field).toString("hex");
}

/** Zero where it is left out, as proto3 says. */
export function varint(of: Message, field: number): number {
  const value = of.get(field)?.at(-1) ?? 0n;
  return Number(value);
}

export function fixed64(of: Message, field: number): bigint {
  const value = bytes(of, field);
  return value.length === 8 ? value.readBigUInt64LE() : 0n;
}

export function double(of: Message, field: number): number {
  const value = bytes(of, field);
  return value.length === 8 ? value.readDoubleLE() : 0;
}

/** A packed list of eight bytes each. */
export function packed<Value>(of: Message, field: number, read: (bytes: Buffer) => Value): Value[] {
  const all = Buffer.concat((of.get(field) ?? []).map(bytesOf));
  return Array.from({ length: all.length / 8 }, (_, index) => read(all.subarray(index * 8, index * 8 + 8)));
}

function bytes(of: Message, field: number): Buffer {
  return bytesOf(of.get(field)?.at(-1) ?? Buffer.alloc(0));
}

function bytesOf(value: bigint | Buffer): Buffer {
  if (typeof value === "bigint") throw new Error("a number where bytes belong");
  return value;
}
