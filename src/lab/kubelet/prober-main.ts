/**
 * The kubelet stand-in's process. It runs in its node's network namespace and in a cgroup of its own, so that its connections are told
 * apart as a real kubelet's are, and answers one question per line: does that port accept, what does that URL say?
 */
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { connect } from "node:net";
import { createInterface } from "node:readline";
import type { ProbeAnswer, ProbeQuestion } from "./prober-protocol.ts";

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const question = JSON.parse(line) as ProbeQuestion;
  const answer = (result: Omit<ProbeAnswer, "id">) =>
    process.stdout.write(`${JSON.stringify({ id: question.id, ...result })}\n`);
  if (question.kind === "tcp") probeTcp(question, answer);
  else probeHttp(question, answer);
});
// The lab closed its end, or died.
lines.on("close", () => process.exit(0));

type Answer = (result: Omit<ProbeAnswer, "id">) => void;

function probeTcp({ host, port, timeoutMs }: ProbeQuestion, answer: Answer): void {
  const socket = connect({ host, port });
  const end = once((ok: boolean, detail: string) => {
    clearTimeout(timer);
    socket.destroy();
    answer({ ok, detail });
  });
  const timer = setTimeout(() => end(false, `no answer from ${host} port ${port} in ${timeoutMs} ms`), timeoutMs);
  socket.once("connect", () => end(true, ""));
  socket.on("error", (error) => end(false, error.message));
}

function probeHttp(question: ProbeQuestion, answer: Answer): void {
  const { host, port, path = "/", headers, timeoutMs, scheme, wantBody } = question;
  const request = (scheme === "HTTPS" ? httpsRequest : httpRequest)({
    host,
    port,
    path: path.startsWith("/") ? path : `/${path}`,
    headers: { "User-Agent": "kube-probe/1.34", Accept: "*/*", Connection: "close", ...headers },
    agent: false,
    // As the kubelet: a probe asks for life, not for identity.
    ...(scheme === "HTTPS" ? { rejectUnauthorized: false } : {}),
  });
  const end = once((result: Omit<ProbeAnswer, "id">) => {
    clearTimeout(timer);
    request.destroy();
    answer(result);
  });
  const timer = setTimeout(
    () => end({ ok: false, detail: `no answer from ${host} port ${port} in ${timeoutMs} ms` }),
    timeoutMs,
  );
  request.on("error", (error) => end({ ok: false, detail: error.message }));
  request.on("response", (response) => {
    const status = response.statusCode ?? 0;
    const chunks: Buffer[] = [];
    response.on("data", (chunk: Buffer) => {
      if (wantBody === true) chunks.push(chunk);
    });
    response.on("error", (error) => end({ ok: false, detail: error.message }));
    response.on("end", () => {
      const ok = status >= 200 && status < 400;
      const body = wantBody === true ? { body: Buffer.concat(chunks).toString() } : {};
      end({ ok, detail: ok ? "" : `HTTP status ${status}`, status, ...body });
    });
  });
  request.end();
}

function once<A extends unknown[]>(act: (...args: A) => void): (...args: A) => void {
  let done = false;
  return (...args) => {
    if (done) return;
    done = true;
    act(...args);
  };
}
