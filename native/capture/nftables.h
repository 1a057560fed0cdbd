#pragma once

#include <string>

#include "result.h"

namespace warren::capture {

// Runs nft commands as one transaction in the calling thread's netns; returns what they print.
Result<std::string> run_nft(const std::string& commands);

}  // namespace warren::capture
