#pragma once
// Numbers of GGUF metadata as config.json spells them.

#include <cstdint>
#include <string>
#include <string_view>

#include "formats/containers/gguf.h"

namespace lancet {

/// The shortest decimal that reads back as the float32.
[[nodiscard]] double shortest_decimal(float value);

/// A float32 of the metadata as the shortest decimal that reads back as it (9.999999747e-06 ->
/// 1e-05).
[[nodiscard]] double gguf_decimal(const GgufHeader& header, std::string_view key, double fallback);

/// An integer in [least, most]; kInput naming the key otherwise.
[[nodiscard]] std::int64_t gguf_integer_in(const GgufHeader& header, std::string_view key,
                                           std::int64_t least, std::int64_t most);

/// A token id in [0, vocab), or nothing when the key is absent; kInput when it is outside.
[[nodiscard]] std::optional<std::int64_t> gguf_token_id(const GgufHeader& header,
                                                        std::string_view key, std::int64_t vocab);

/// One value of an integer key that may be an array with an entry per layer; kMismatch if the
/// layers differ.
[[nodiscard]] std::int64_t gguf_uniform(const GgufHeader& header, std::string_view key,
                                        std::int64_t fallback, std::int64_t most);

}  // namespace lancet
