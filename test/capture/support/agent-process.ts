/** An agent in a process of its own, to be killed: enrols the pods of its argument, says so, and relays. */
import { type CaptureOptions, createCapture } from "../../../src/capture/create-capture.ts";
import { Relay } from "./relay.ts";

export interface AgentProcessInput {
  readonly options: CaptureOptions;
  readonly pods: readonly { readonly uid: string; readonly netnsPath: string; readonly addresses: readonly string[] }[];
}

const { options, pods } = JSON.parse(process.argv[2] ?? "") as AgentProcessInput;
const capture = await createCapture(options);
const relay = new Relay(capture.sockets);
for (const pod of pods) {
  relay.add(await capture.enrol({ ...pod, failOpen: false, probePorts: [8090] }, AbortSignal.timeout(30_000)));
}
process.stdout.write("ready\n");
