#pragma once
// Tokens to a Program. Throws kInput naming the line for syntax that is wrong or not supported, and
// for nesting beyond `depth`.

#include <string_view>

#include "formats/template/ast.h"

namespace lancet::jinja {

[[nodiscard]] Program parse_template(std::string_view source, int depth);

}  // namespace lancet::jinja
