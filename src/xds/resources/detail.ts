/** Warren's own facts beside Istio's: one extension that other clients skip. */
import { create, type DescMessage, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { type Extension, ExtensionSchema } from "../gen/istio/workload/workload_pb.ts";

const extensionName = "warren.dev/detail";

export function detailExtension<S extends DescMessage>(schema: S, detail: MessageShape<S>): Extension {
  const config = create(AnySchema, {
    typeUrl: `type.googleapis.com/${schema.typeName}`,
    value: toBinary(schema, detail),
  });
  return create(ExtensionSchema, { name: extensionName, config });
}

export function detailOf<S extends DescMessage>(
  schema: S,
  extensions: readonly Extension[],
): MessageShape<S> | undefined {
  const config = extensions.find(({ name }) => name === extensionName)?.config;
  if (config?.typeUrl !== `type.googleapis.com/${schema.typeName}`) return undefined;
  return fromBinary(schema, config.value);
}
