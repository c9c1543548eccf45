#pragma once
// A merge method: one file in merge/methods/, ending in its descriptor. A method sees one tensor at
// a time as a MergeTask. It may read the inputs as often as it needs (statistics passes) and
// returns what computes a block of the result; both work on blocks, so that a tensor of any size is
// merged in bounded memory.

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "merge/ops/vector.h"

namespace lancet {

class MergeTask;
class MergeTasks;
struct Block;

/// Which rule where published code and paper disagree.
enum class Semantics {
  kFixed,     ///< mergekit's formulas without its known bugs: the default
  kMergekit,  ///< with them
  kPaper      ///< what the method's paper says
};

/// A parameter's fallback that says: the recipe must give a value.
inline constexpr double kMustBeGiven = std::numeric_limits<double>::quiet_NaN();

/// A parameter of a recipe: ranged and documented here and nowhere else.
struct MergeParameter {
  enum class Kind { kNumber, kInteger, kFlag, kWord };
  std::string_view name;
  Kind kind = Kind::kNumber;
  double fallback = 0;              ///< or kMustBeGiven
  double minimum = 0, maximum = 0;  ///< inclusive
  bool per_model = false;           ///< one value for each model, else one for the tensor
  std::string_view help;
  std::span<const std::string_view> choices = {};  ///< of a word, whose value is its position here
};

enum class BaseUse {
  kNone,      ///< base_model, if listed among the models, is one of them; otherwise it only gives
              ///< config and tokenizer
  kOptional,  ///< used where the recipe names one
  kRequired
};

/// What the test suite holds every method to.
struct Laws {
  bool identity = true;         ///< equal inputs (and base) give that input, bit for bit
  bool order_free = true;       ///< the order of the models moves no more than the last bit
  bool zero_is_absent = false;  ///< a model of weight 0 is as if it were not listed
  bool random = false;          ///< depends on the seed
  bool scales = false;          ///< twice the inputs (and base) give twice the result
};

/// Computes elements [block.begin, block.begin + out.size()) of the result. Thread-safe.
using Emit = std::function<void(const Block& block, ops::Out out)>;

/// Values of a parameter that do not go together on one tensor.
struct ParameterFault {
  ErrorKind kind = ErrorKind::kUsage;
  std::string_view parameter;
  std::optional<std::size_t> model;  ///< whose value it is; none: of all
  std::string message, hint;
};

struct Method {
  enum class Unit {
    kElements,
    kRows
  };  ///< blocks of any elements, or of whole rows of the last dimension
  enum class View { kValues, kDeltas };  ///< models as x_i, or as x_i - base where there is a base

  std::string_view name;  ///< file name and `merge_method`
  std::string_view title;
  std::string_view paper;  ///< arXiv id, or where it comes from
  BaseUse base = BaseUse::kNone;
  std::size_t min_models = 1, max_models = SIZE_MAX;  ///< besides the base
  std::span<const MergeParameter> parameters;
  Unit unit = Unit::kElements;
  View view = View::kValues;
  bool one_pass = false;  ///< `prepare` reads no values
  Laws laws;
  bool needs_linalg = false;   ///< MergeTask::linalg() is there; whole tensors are held in memory
  double whole_tensors = 0;    ///< of those, per model: float64 copies at the peak
  bool flat_spectrum = false;  ///< equal singular values: no single directions to post-process
  /// What must be known of the whole model before its first tensor; MergeTask::survey() gives it.
  std::vector<double> (*survey)(const MergeTasks& tasks) = nullptr;
  /// What is wrong with the parameters of a tensor; reads no values. A plan asks for every tensor.
  std::optional<ParameterFault> (*fault)(const MergeTask& task) = nullptr;
  Emit (*prepare)(const MergeTask& task) = nullptr;
};

[[nodiscard]] std::span<const Method* const> merge_method_registry();
/// Null when there is none of this name.
[[nodiscard]] const Method* find_merge_method(std::string_view name) noexcept;
/// Position of a parameter in `method.parameters`, or nothing.
[[nodiscard]] const MergeParameter* find_parameter(const Method& method,
                                                   std::string_view name) noexcept;

}  // namespace lancet
