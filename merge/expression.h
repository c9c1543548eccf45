#pragma once
// `expression:` of a recipe, for people who think in differences:
//   base + 0.6*(coder - base) + 0.4*(chinese - base)
//   base + ties(coder - base, 0.5*(chinese - base); density=0.3)    the second difference halved
//   0.5*slerp(a, b; t=0.3) + 0.5*c
// Sums of named models with number factors, and calls of merge methods: of differences from one
// model (the result is again a difference), or of models (the result is a model). Behind the
// semicolon stand the method's parameters, as name=value or name=[one for each argument].
//
// It becomes documents that merge as any other, in float64: one for each call and for each
// difference with a factor in it, and a weighted sum.

#include <map>
#include <string>
#include <vector>

#include "merge/recipe_reader.h"

namespace lancet {

using ExpressionNames = std::map<std::string, RecipeModel, std::less<>>;

/// The documents that `node` stands for, the sum last. Names are those of `models`. `stages` counts
/// the calls of the file: each has a name of its own. Throws kUsage with line, column and "did you
/// mean".
[[nodiscard]] std::vector<Recipe> parse_expression(const RecipeReader& reader, const Node& node,
                                                   const ExpressionNames& models, int& stages);

}  // namespace lancet
