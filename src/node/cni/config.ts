import { z } from "zod";
import { duration, path } from "../../lib/config-schema.ts";

/** Knobs of capture before a pod's first instruction. */
export const cni = z
  .strictObject({
    socket: path()
      .optional()
      .describe(
        "Unix socket on which the CNI plugin asks before a pod's containers start. Default: none; pods are captured a moment after their start.",
      ),
    binDir: path()
      .optional()
      .describe(
        "Folder where the container runtime looks for plugins; the plugin is put there. Default: it is not installed.",
      ),
    confDir: path()
      .optional()
      .describe(
        "Folder of the runtime's network configurations; one of our own is kept there that adds the plugin to the primary's.",
      ),
    failOpen: z
      .boolean()
      .prefault(false)
      .describe(
        "Let pods start outside of the mesh while the agent does not answer. Off: they wait, because one that is started so sends plaintext.",
      ),
    excludeNamespaces: z
      .array(z.string().min(1))
      .prefault(["kube-system", "warren-system"])
      .describe(
        "Namespaces whose pods start without being asked about: the cluster's and the mesh's own must start before the mesh is there.",
      ),
    wait: duration({ min: "100ms", max: "5m" })
      .prefault("15s")
      .describe(
        "How long the plugin's question may take, for the mesh to hear of the pod and for its capture; the kubelet tries again.",
      ),
  })
  .describe("Capture before a pod's first instruction, by a chained CNI plugin.");
