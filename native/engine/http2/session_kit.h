#pragma once

#include <nghttp2/nghttp2.h>

#include <memory>

#include "engine/base/counters.h"

namespace warren::engine {

using Http2Session = std::unique_ptr<nghttp2_session, decltype(&nghttp2_session_del)>;

// What all HTTP/2 sessions of one worker share: nghttp2's callbacks into Tunnel, options and a counting allocator.
class SessionKit {
 public:
  explicit SessionKit(Counters& counters);

  // `tunnel` comes back in every callback. Null when out of memory.
  Http2Session client(void* tunnel);
  Http2Session server(void* tunnel);

 private:
  std::unique_ptr<nghttp2_session_callbacks, decltype(&nghttp2_session_callbacks_del)> callbacks_;
  std::unique_ptr<nghttp2_option, decltype(&nghttp2_option_del)> options_;
  nghttp2_mem memory_;
};

}  // namespace warren::engine
