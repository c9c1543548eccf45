#pragma once
// A data recipe: one file in distill/recipes/, ending in its descriptor `data_recipe_NAME`. It
// turns one seed into rows by asking a teacher; `run` reads from top to bottom like a script.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "distill/rows/row.h"

namespace lancet {

class Turn;

/// An option of a recipe: ranged and documented here and nowhere else.
struct DataParameter {
  enum class Kind { kNumber, kInteger, kFlag, kWord };
  std::string_view name;
  Kind kind = Kind::kNumber;
  double fallback = 0;
  double minimum = 0, maximum = 0;  ///< inclusive
  std::string_view help;
  std::string_view word;                           ///< fallback of a word
  std::span<const std::string_view> choices = {};  ///< of a word; none = any text
};

/// Values for a recipe's parameters, in their order.
struct DataOptions {
  std::vector<double> numbers;
  std::vector<std::string> words;
};

/// What a recipe that works in rounds looks back on.
struct RoundInput {
  std::uint32_t round = 0;
  const std::vector<Json>& seeds;
  const std::vector<Json>& rows;  ///< admitted so far, in order
  const DataOptions& options;
  std::uint64_t seed = 0;
};

struct DataRecipe {
  std::string_view name;  ///< file name and `data.recipe`
  std::string_view title;
  std::string_view paper;  ///< arXiv id, or where it comes from
  std::string_view needs;  ///< the seed's key that must be there: "prompt", "text", "question", ...
  std::span<const DataParameter> parameters;
  std::span<const std::string_view> prompts;  ///< its files under share/prompts/NAME/
  /// Requests that one seed takes at most.
  std::uint64_t (*requests)(const DataOptions& options);
  /// Called again from its first line whenever answers have come, so it must be a pure function of
  /// the Turn: no clock, no other state.
  void (*run)(Turn& turn);
  /// For recipes that work in rounds: the seeds of round 0, 1, ... from the rows so far; an empty
  /// list ends. Null: one round, every seed `samples` times.
  std::vector<Json> (*next_round)(const RoundInput& input) = nullptr;
  /// Whether a row, in the final order, joins those admitted before it. Null: all do.
  bool (*admit)(const Json& row, const std::vector<Json>& rows,
                const DataOptions& options) = nullptr;
  RowKind rows = RowKind::kMessages;  ///< what it makes
  bool executes = false;              ///< runs generated programs in the sandbox
  bool completions = false;           ///< has raw text continued (/v1/completions)
};

[[nodiscard]] std::span<const DataRecipe* const> data_recipe_registry();
/// Throws kUsage with the nearest name.
[[nodiscard]] const DataRecipe& find_data_recipe(std::string_view name);
/// For `lancet list recipes --json`.
[[nodiscard]] Json describe_data_recipes();

/// Defaults.
[[nodiscard]] DataOptions default_options(const DataRecipe& recipe);
/// Values by name, for descriptors. kInternal for a name that is none.
[[nodiscard]] double option_number(const DataRecipe& recipe, const DataOptions& options,
                                   std::string_view name);
[[nodiscard]] const std::string& option_word(const DataRecipe& recipe, const DataOptions& options,
                                             std::string_view name);

}  // namespace lancet
