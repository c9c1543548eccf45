#pragma once
// A corner of Jinja's scoping that templates can see: a name that a scope assigns before it
// mentions it in any other way, and that no scope around it mentions, is undefined in that scope
// until the assignment runs, even where the context has a value for it. (An assignment inside `if`
// does not count.)

#include "formats/template/ast.h"

namespace lancet::jinja {

/// Fills the `hidden` lists of the program.
void analyze_scopes(Program& program);

}  // namespace lancet::jinja
