#pragma once
// JSON values (order kept) and a strict parser: duplicate keys, trailing text, NaN, invalid UTF-8
// and over-deep nesting are errors that name source, line and column.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "core/file.h"

namespace lancet {

using Json = nlohmann::ordered_json;

struct JsonLimits {
  std::size_t depth = 64;              ///< nesting of arrays and objects
  std::uint64_t values = 64ULL << 20;  ///< values in the whole document
};

/// Parses one document. `source` names it in errors (a path). Throws Error(kInput).
[[nodiscard]] Json parse_json(std::string_view text, std::string_view source,
                              JsonLimits limits = {});
[[nodiscard]] Json read_json(const fs::path& path, std::uint64_t byte_limit = 256ULL << 20);

/// Typed access with a clear error (kInput): `where` is e.g. "config.json".
[[nodiscard]] std::int64_t json_int(const Json& object, std::string_view key,
                                    std::string_view where);
[[nodiscard]] std::int64_t json_int(const Json& object, std::string_view key,
                                    std::string_view where, std::int64_t fallback);
[[nodiscard]] double json_number(const Json& object, std::string_view key, std::string_view where,
                                 double fallback);
[[nodiscard]] bool json_bool(const Json& object, std::string_view key, std::string_view where,
                             bool fallback);
[[nodiscard]] std::string json_string(const Json& object, std::string_view key,
                                      std::string_view where);
[[nodiscard]] std::string json_string(const Json& object, std::string_view key,
                                      std::string_view where, std::string fallback);

/// Compact text; invalid UTF-8 in strings is replaced, never thrown over.
[[nodiscard]] std::string dump_json(const Json& value, int indent = -1);

}  // namespace lancet
