#include "engine/net/error_text.h"

#include <cstring>

namespace warren::engine {

std::string errorText(int error) {
  const char* name = strerrorname_np(error);
  const char* words = strerrordesc_np(error);
  if (name == nullptr || words == nullptr) return "error " + std::to_string(error);
  return std::string(name) + ": " + words;
}

}  // namespace warren::engine
