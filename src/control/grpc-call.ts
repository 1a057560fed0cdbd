/**
 * How every service of control treats a call: what goes wrong on it, on either side, ends it with a status and never the process. Callers
 * can send whatever they like at any moment, and an exception in a stream's listener would be nobody's to catch.
 */
import { type ServiceError, status } from "@grpc/grpc-js";
import { messageOf } from "../lib/errors.ts";

export type Ending = Pick<ServiceError, "code" | "details">;

/** What this needs of grpc-js's calls. */
interface Call {
  emit(event: "error", ending: Ending): unknown;
}

interface Incoming<Message> extends Call {
  on(event: "data", listener: (message: Message) => void): unknown;
  off(event: "data", listener: (message: Message) => void): unknown;
}

/** Trailers are headers: what is longer than a peer takes would cost it the connection. */
const longestDetails = 1000;

/** A status that can be sent: grpc-js throws for details that are no Unicode, as a text cut in the middle of a character is. */
export function ending(code: status, details: string): Ending {
  return { code, details: details.slice(0, longestDetails).toWellFormed() };
}

/** Ends a stream with a status. */
export function endCall(call: Call, code: status, details: string): void {
  // This is how grpc-js is told.
  call.emit("error", ending(code, details));
}

export interface Reader<Message> {
  /** Returns what is wrong with the message, if anything is. */
  readonly take: (message: Message) => string | undefined;
  /** Told what was thrown. */
  readonly failed: (error: unknown) => void;
}

/** Gives a stream's messages to their reader, up to the first that is wrong or that the reader fails at: the call ends there. */
export function readMessages<Message>(call: Incoming<Message>, reader: Reader<Message>): void {
  const end = (code: status, details: string) => {
    // What follows flows on into nothing: an answer to it would take the place of the status.
    call.off("data", onData);
    endCall(call, code, details);
  };
  const onData = (message: Message) => {
    try {
      const wrong = reader.take(message);
      if (wrong !== undefined) end(status.INVALID_ARGUMENT, wrong);
    } catch (error) {
      reader.failed(error);
      end(status.INTERNAL, messageOf(error));
    }
  };
  call.on("data", onData);
}
