#pragma once
// Tables of methods: name and body; a null body is one that Python has and this engine does not
// offer.

#include <string_view>
#include <utility>
#include <vector>

#include "formats/template/runtime.h"

namespace lancet::jinja {

using MethodEntry = std::pair<std::string_view, Method::Body>;
[[nodiscard]] const std::vector<MethodEntry>& text_methods();
/// The part of text_methods that cuts and joins.
[[nodiscard]] const std::vector<MethodEntry>& split_methods();

/// str.replace; count < 0 replaces all.
[[nodiscard]] std::string replace_text(Runtime& rt, std::string_view text, std::string_view old,
                                       std::string_view replacement, std::int64_t count);
/// str.splitlines.
[[nodiscard]] std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);
/// str.center with a fill of one code point.
[[nodiscard]] std::string center_text(Runtime& rt, std::string_view text, std::int64_t width,
                                      std::string_view fill);

}  // namespace lancet::jinja
