// Prints the structs of bpf/shared.h as this compiler laid them out and as the embedded BPF objects have them in their
// BTF.
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <cstddef>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "exempt.skel.h"
#include "lookup.skel.h"
#include "maps.skel.h"
#include "shared.h"
#include "steer.skel.h"

namespace {

struct Field {
  const char* name;
  std::size_t offset;
};

struct Layout {
  const char* name;
  std::size_t size;
  std::vector<Field> fields;
};

#define FIELD(type, name) \
  { #name, offsetof(type, name) }

std::vector<Layout> native_layouts() {
  return {
      {"warren_orig_dst_key",
       sizeof(warren_orig_dst_key),
       {FIELD(warren_orig_dst_key, netns_cookie), FIELD(warren_orig_dst_key, source_addr),
        FIELD(warren_orig_dst_key, source_port_be), FIELD(warren_orig_dst_key, family),
        FIELD(warren_orig_dst_key, pad)}},
      {"warren_orig_dst",
       sizeof(warren_orig_dst),
       {FIELD(warren_orig_dst, addr), FIELD(warren_orig_dst, port_be), FIELD(warren_orig_dst, family),
        FIELD(warren_orig_dst, pad), FIELD(warren_orig_dst, created_ns)}},
      {"warren_sk_dst",
       sizeof(warren_sk_dst),
       {FIELD(warren_sk_dst, addr), FIELD(warren_sk_dst, port_be), FIELD(warren_sk_dst, family)}},
      {"warren_pod",
       sizeof(warren_pod),
       {FIELD(warren_pod, addr4), FIELD(warren_pod, addr6), FIELD(warren_pod, outbound_port), FIELD(warren_pod, pad),
        FIELD(warren_pod, flags)}},
      {"warren_pod_addr",
       sizeof(warren_pod_addr),
       {FIELD(warren_pod_addr, netns_cookie), FIELD(warren_pod_addr, addr), FIELD(warren_pod_addr, family),
        FIELD(warren_pod_addr, pad)}},
      {"warren_probe_port",
       sizeof(warren_probe_port),
       {FIELD(warren_probe_port, netns_cookie), FIELD(warren_probe_port, port), FIELD(warren_probe_port, pad)}},
      {"warren_listener",
       sizeof(warren_listener),
       {FIELD(warren_listener, netns_cookie), FIELD(warren_listener, role), FIELD(warren_listener, family)}},
      {"warren_flow",
       sizeof(warren_flow),
       {FIELD(warren_flow, source_addr), FIELD(warren_flow, destination_addr), FIELD(warren_flow, source_port_be),
        FIELD(warren_flow, destination_port_be), FIELD(warren_flow, family)}},
      {"warren_exemption", sizeof(warren_exemption), {FIELD(warren_exemption, kind), FIELD(warren_exemption, pad)}},
      {"warren_config",
       sizeof(warren_config),
       {FIELD(warren_config, host_netns_cookie), FIELD(warren_config, heartbeat_ns),
        FIELD(warren_config, heartbeat_timeout_ns)}},
      {"warren_event",
       sizeof(warren_event),
       {FIELD(warren_event, netns_cookie), FIELD(warren_event, cgroup_id), FIELD(warren_event, kind),
        FIELD(warren_event, pid)}},
      {"warren_event_key",
       sizeof(warren_event_key),
       {FIELD(warren_event_key, netns_cookie), FIELD(warren_event_key, kind), FIELD(warren_event_key, pad)}},
  };
}

void print(const char* origin, const Layout& layout) {
  std::printf("{\"origin\":\"%s\",\"name\":\"%s\",\"size\":%zu,\"fields\":{", origin, layout.name, layout.size);
  const char* separator = "";
  for (const Field& field : layout.fields) {
    std::printf("%s\"%s\":%zu", separator, field.name, field.offset);
    separator = ",";
  }
  std::printf("}}\n");
}

void print_from_btf(const char* origin, const void* elf, std::size_t size, const std::vector<Layout>& wanted) {
  const std::unique_ptr<bpf_object, void (*)(bpf_object*)> object(::bpf_object__open_mem(elf, size, nullptr),
                                                                  ::bpf_object__close);
  if (!object) return;
  const btf* types = ::bpf_object__btf(object.get());
  for (const Layout& layout : wanted) {
    const int id = ::btf__find_by_name_kind(types, layout.name, BTF_KIND_STRUCT);
    if (id < 0) continue;  // this object does not use it
    const btf_type* type = ::btf__type_by_id(types, static_cast<unsigned>(id));
    Layout found{layout.name, type->size, {}};
    for (unsigned i = 0; i < ::btf_vlen(type); i++) {
      const char* name = ::btf__name_by_offset(types, ::btf_members(type)[i].name_off);
      found.fields.push_back({name, ::btf_member_bit_offset(type, i) / 8});
    }
    print(origin, found);
  }
}

}  // namespace

int main() {
  const std::vector<Layout> layouts = native_layouts();
  for (const Layout& layout : layouts) print("native", layout);
  std::size_t size = 0;
  const void* elf = warren_maps_bpf::elf_bytes(&size);
  print_from_btf("maps", elf, size, layouts);
  elf = warren_steer_bpf::elf_bytes(&size);
  print_from_btf("steer", elf, size, layouts);
  elf = warren_lookup_bpf::elf_bytes(&size);
  print_from_btf("lookup", elf, size, layouts);
  elf = warren_exempt_bpf::elf_bytes(&size);
  print_from_btf("exempt", elf, size, layouts);
  return 0;
}
