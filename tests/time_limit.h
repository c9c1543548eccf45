#pragma once

#include <ctime>

// How long a test may take of the processor: the limits stand with the tests, the allowance for a
// sanitizer's own work stands here. A busy machine shares its caches and hyper-threads, which alone
// can double processor time; AddressSanitizer and UBSan slow these readers two to four times.

namespace lancet {

#ifdef LANCET_SANITIZED
inline constexpr double kSanitizerFactor = 4;
#else
inline constexpr double kSanitizerFactor = 1;
#endif

/// Seconds of processor time that `work` takes: what other programs do in between does not count.
template <typename Work>
double processor_seconds(const Work& work) {
  const std::clock_t start = std::clock();
  work();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

}  // namespace lancet
