#pragma once
// How a fuzz target says that a rule does not hold.

#include <cstdio>
#include <cstdlib>

namespace lancet::fuzz {

[[noreturn]] inline void broken(const char* rule) {
  std::fprintf(stderr, "broken rule: %s\n", rule);
  std::abort();
}

}  // namespace lancet::fuzz
