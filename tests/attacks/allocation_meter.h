#pragma once
// Measures what operator new hands out in this test binary (allocation_meter.cpp replaces it).

#include <cstdint>

namespace lancet {

/// Counts from its construction on. One at a time.
class AllocationMeter {
 public:
  AllocationMeter() noexcept;
  /// The most bytes that were held at once beyond those held at construction, or the largest single
  /// request where that is more (also one that failed).
  [[nodiscard]] std::uint64_t peak() const noexcept;
};

}  // namespace lancet
