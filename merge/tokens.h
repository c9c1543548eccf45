#pragma once
// Merging models whose vocabularies differ: which token stands at which row of the result, and
// which rows of which models its embedding is made of.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "merge/input.h"
#include "merge/method.h"
#include "merge/recipe.h"
#include "merge/token_ids.h"

namespace lancet {

/// For each row of the result the rows that are averaged for one model; none: zeros.
struct RowMap {
  static constexpr std::uint32_t kMean = UINT32_MAX;  ///< as row: the mean of all rows
  struct Row {
    std::uint32_t input = 0;  ///< into the plan's inputs
    std::uint32_t row = 0;
  };
  std::vector<std::uint32_t> starts;  ///< rows + 1 offsets into `sources`
  std::vector<Row> sources;

  [[nodiscard]] std::int64_t rows() const noexcept {
    return static_cast<std::int64_t>(starts.size()) - 1;
  }
};

struct TokenPlan {
  std::int64_t tokens = 0;                          ///< of the tokenizer
  std::int64_t rows = 0;                            ///< of embeddings and head
  std::vector<std::shared_ptr<const RowMap>> maps;  ///< one for each input
  std::map<std::string, std::string> side_files;    ///< the tokenizer of the result
  std::optional<TokenIds> ids;                      ///< where it is not the reference's
  std::vector<std::string> warnings;
};

/// What the inputs are to a recipe.
struct TokenInputs {
  std::size_t reference = 0;        ///< the input whose tokenizer is "base"
  bool based = false;               ///< it is the recipe's base_model
  std::vector<std::size_t> merged;  ///< not merely the sources of a tokenizer or of tokens
};

/// Tokens that the recipe alone names come last, as added tokens. kMismatch for a tokenizer that
/// cannot be matched by token.
[[nodiscard]] TokenPlan plan_tokens(const RecipeTokenizer& recipe,
                                    const std::vector<std::shared_ptr<const MergeInput>>& inputs,
                                    const TokenInputs& known, Semantics semantics);

/// A file that belongs to a tokenizer, its chat templates among them.
[[nodiscard]] bool is_tokenizer_file(std::string_view name);

/// Where a configuration says vocab_size: of a model of several parts in that of its language
/// model.
[[nodiscard]] Json::json_pointer vocabulary_place(const Json& config);

/// True for the token embedding and the head of a model: [vocab, d_model], the head's bias [vocab].
/// Told by the number of rows outside the layers, by name where no vocab_size is known.
[[nodiscard]] bool is_embedding(const MergeInput& model, const InputTensor& tensor);

/// For models whose rows are merged by number (`merged`: into `inputs`): a warning for each that
/// has another token than the first at some id, with the first such id. A model without a
/// tokenizer that can be read is passed over.
[[nodiscard]] std::vector<std::string> warnings_of_rows(
    const std::vector<std::shared_ptr<const MergeInput>>& inputs,
    const std::vector<std::size_t>& merged);

/// Rows of `readers` (one for each input of the plan, null where the map does not ask for it) as
/// the map says.
[[nodiscard]] std::unique_ptr<TensorReader> token_reader(
    std::vector<std::unique_ptr<TensorReader>> readers, std::shared_ptr<const RowMap> map,
    std::string label);

}  // namespace lancet
