#include "nftables.h"

#include <nftables/libnftables.h>

#include <memory>

namespace warren::capture {

Result<std::string> run_nft(const std::string& commands) {
  // A context holds a netlink socket of the netns it was made in, so none is kept.
  const std::unique_ptr<nft_ctx, void (*)(nft_ctx*)> context(::nft_ctx_new(NFT_CTX_DEFAULT), ::nft_ctx_free);
  if (!context || ::nft_ctx_buffer_output(context.get()) != 0 || ::nft_ctx_buffer_error(context.get()) != 0) {
    return Failure{"MESH_NFT_FAILED", "cannot set up libnftables"};
  }
  ::nft_ctx_output_set_flags(context.get(), NFT_CTX_OUTPUT_NUMERIC_ALL);
  if (::nft_run_cmd_from_buffer(context.get(), commands.c_str()) != 0) {
    const char* reason = ::nft_ctx_get_error_buffer(context.get());
    return Failure{"MESH_NFT_FAILED", std::string("nftables refused: ") + (reason == nullptr ? "" : reason)};
  }
  const char* output = ::nft_ctx_get_output_buffer(context.get());
  return std::string(output == nullptr ? "" : output);
}

}  // namespace warren::capture
