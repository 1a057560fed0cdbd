// Batches of decision records as TypeScript writes them: a mistake there must never read past the batch, nor loop.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "engine/core/decision.h"

using namespace warren::engine;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::span<const uint8_t> records(data, size);
  while (!records.empty()) {
    const size_t before = records.size();
    Decision decision;
    const bool good = readDecision(records, decision);
    if (records.size() > before || records.data() + records.size() != data + size) std::abort();
    if (!good) break;
    // Each record takes its bytes, or the batch would never end.
    if (records.size() >= before) std::abort();
    for (const CarryTarget& target : decision.carry) {
      if (target.authority.empty() || !(target.weight >= 0)) std::abort();
    }
    for (const DialTarget& target : decision.dial) {
      if (target.destination.none() || !(target.weight >= 0)) std::abort();
    }
  }
  return 0;
}
