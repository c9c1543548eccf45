#pragma once
// How long a test may take of the processor: the limits stand with the tests, the allowance for a
// sanitizer's own work stands here. A busy machine shares its caches and hyper-threads, which alone
// can double processor time; AddressSanitizer and UBSan slow these readers two to four times.

namespace lancet {

#ifdef LANCET_SANITIZED
inline constexpr double kSanitizerFactor = 4;
#else
inline constexpr double kSanitizerFactor = 1;
#endif

}  // namespace lancet
