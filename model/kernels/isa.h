#pragma once
// Instruction sets with kernels of their own. They differ in speed, never in results.

#include <string_view>

namespace lancet::kernels {

enum class Isa { kScalar, kAvx2, kAvx512 };

/// The fastest one of this processor.
[[nodiscard]] Isa best_isa() noexcept;
[[nodiscard]] bool has_isa(Isa isa) noexcept;
[[nodiscard]] std::string_view isa_name(Isa isa) noexcept;

}  // namespace lancet::kernels
