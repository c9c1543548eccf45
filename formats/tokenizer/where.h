#pragma once
// The place in a tokenizer.json that is being read, for messages: "tokenizer.json:
// pre_tokenizer.pretokenizers[1]".

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/json.h"

namespace lancet {

struct Where {
  std::string source;  ///< path of the file
  std::string path;    ///< dotted path of keys
  int depth = 0;       ///< nesting of components

  [[nodiscard]] std::string text() const { return path.empty() ? source : source + ": " + path; }
  [[nodiscard]] Where key(std::string_view name) const {
    return {source, path.empty() ? std::string(name) : path + "." + std::string(name), depth};
  }
  /// Element `index` of the array `name` of components; deeper than 16 levels is Error(kInput).
  [[nodiscard]] Where component(std::string_view name, std::size_t index) const;

  [[noreturn]] void fail_input(std::string_view message) const;
  /// kMismatch: a component of another kind than this build supports.
  [[noreturn]] void fail_unsupported(std::string_view stage, std::string_view type) const;

  /// The member `name` of `object`; Error(kInput) when there is none or `object` is no object.
  [[nodiscard]] const Json& member(const Json& object, std::string_view name) const;
  [[nodiscard]] const Json::array_t& array(const Json& object, std::string_view name) const;
  [[nodiscard]] std::string string(const Json& object, std::string_view name) const;
  /// `fallback` where the member is missing or null.
  [[nodiscard]] std::string string(const Json& object, std::string_view name,
                                   std::string_view fallback) const;
  [[nodiscard]] bool boolean(const Json& object, std::string_view name, bool fallback) const;
  [[nodiscard]] bool boolean(const Json& object, std::string_view name) const;
  /// An integer in [lowest, highest].
  [[nodiscard]] std::int64_t integer(const Json& object, std::string_view name, std::int64_t lowest,
                                     std::int64_t highest) const;
};

/// The value as a token id: an integer from 0 to 2^31 - 1, signed or unsigned; else nothing.
[[nodiscard]] std::optional<std::int32_t> as_token_id(const Json& value);

}  // namespace lancet
