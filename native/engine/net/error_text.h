#pragma once

#include <string>

namespace warren::engine {

// `ECONNREFUSED: Connection refused`: the name to search for and the words to read.
std::string errorText(int error);

}  // namespace warren::engine
