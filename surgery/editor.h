#pragma once
// An editor gets a const model and returns low-rank factors; only apply writes. One file per method
// in surgery/editors/, ending in its descriptor.

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/ATen.h>

#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"
#include "surgery/requests.h"

namespace lancet {

/// Default of a number that the editor chooses by the others; its help says how.
inline constexpr double kAuto = std::numeric_limits<double>::quiet_NaN();

/// A parameter of a method: settable by --method-option, ranged and documented here and nowhere
/// else.
struct Parameter {
  std::string_view name;
  double fallback;          ///< or kAuto
  double minimum, maximum;  ///< inclusive
  bool integer;
  std::string_view help;
};
/// A parameter that is a word from a list or a path.
struct WordParameter {
  std::string_view name;
  std::string_view fallback;
  std::vector<std::string_view> choices;  ///< empty = free text (a path)
  std::string_view help;
};

/// The values of one run: every declared parameter, defaults filled in, ranges checked.
class Parameters {
 public:
  /// Unknown names are Error(kUsage) with "did you mean"; values out of range name the range.
  Parameters(std::span<const Parameter> numbers, std::span<const WordParameter> words,
             const std::map<std::string, std::string>& given);
  [[nodiscard]] double number(std::string_view name) const;
  /// Of a kAuto parameter: what was given, else `chosen`.
  [[nodiscard]] double number_or(std::string_view name, double chosen) const;
  [[nodiscard]] std::int64_t integer(std::string_view name) const;
  [[nodiscard]] std::int64_t integer_or(std::string_view name, std::int64_t chosen) const;
  [[nodiscard]] const std::string& word(std::string_view name) const;
  /// Whether somebody set it, to anything but auto.
  [[nodiscard]] bool is_given(std::string_view name) const;
  [[nodiscard]] const Json& json() const noexcept { return json_; }  ///< for the ledger

 private:
  Json json_;
  std::set<std::string, std::less<>> given_;
};

class Turns;

/// What an editor works with.
struct EditInput {
  const Decoder& model;
  const Tokenizer& tokenizer;
  std::vector<Fact> facts;
  std::vector<std::int64_t> layers;  ///< ascending
  /// Second moment C = E[k k^T] of a layer's keys (down.h), float64 [width, width]; empty tensor =
  /// identity.
  std::function<at::Tensor(std::int64_t layer)> covariance;
  const Parameters& parameters;
  std::uint64_t seed;
  /// Facts that an editor of many writes together; 0 = all. Later batches see the earlier ones.
  std::int64_t batch = 0;
  /// sample_contexts() of the model with this seed, where somebody keeps them; else the editor
  /// samples.
  std::function<std::vector<std::string>(std::int64_t count)> contexts = {};
  /// Values (v* or z, [d_model]) that an earlier run found for facts of these ids on the same
  /// weights: taken instead of a search.
  std::map<std::string, at::Tensor> values = {};
  /// Asked after each turn (batch, or fact where facts are written one by one) with the model that
  /// carries it: false takes the turn back and ends the plan there.
  std::function<bool(const Decoder& model)> keeps = {};
  /// Turns that an earlier run of the same edit finished, and where this one keeps its own
  /// (turns.h); null = nobody does.
  Turns* turns = nullptr;
  /// Literal contexts instead of the file that the parameter names; empty = as the parameter says.
  std::vector<std::string> given_contexts = {};
};

/// delta W = left right^T for the mathematical W [d_out, d_in], whatever the stored layout.
struct Factors {
  std::int64_t layer = 0;
  std::string tensor;  ///< Hugging Face name of the matrix
  MatrixLayout layout = MatrixLayout::kOutIn;
  at::Tensor left;   ///< float32 [d_out, rank]
  at::Tensor right;  ///< float32 [d_in, rank]
  /// Of the layer's key, where the part that this matrix reads begins (an expert's: down.h).
  std::int64_t first = 0;
};

/// What was computed for one fact, for --dump and the ledger.
struct FactTrace {
  std::string id;
  std::vector<std::pair<std::int64_t, at::Tensor>> keys;  ///< (layer, k* [d_in])
  at::Tensor value;                                       ///< v* or z [d_model]
  at::Tensor losses;                                      ///< float64 [steps, terms]
  std::int64_t subject_last = 0;                          ///< token index in the bare prompt
  double residual = 0;  ///< relative residual of the linear system
};

struct EditPlan {
  std::vector<Factors> factors;
  std::vector<FactTrace> traces;  ///< one per fact written, in order: fewer where `keeps` said no
  Json notes;                     ///< contexts used, steps, condition, ... for the ledger
  bool joint = false;             ///< the factors are of all facts together: no column is one's own
};

/// Which layers `--layers auto` stands for.
enum class Reach {
  kOne,    ///< a preset's layer or the sweep's
  kRange,  ///< that layer and those around it
  kLate,   ///< one near the end
  kAll     ///< every layer
};

struct Editor {
  std::string_view name;  ///< file name
  std::string_view title;
  std::string_view paper;
  std::span<const Parameter> numbers;
  std::span<const WordParameter> words;
  std::int64_t max_facts;  ///< per call; 0 = any number
  Reach reach = Reach::kOne;
  bool batches = true;            ///< takes EditInput::batch
  bool stops = true;              ///< asks EditInput::keeps after each turn
  bool covariance = true;         ///< asks for second moments
  bool needs_covariance = false;  ///< and does not take the identity for them
  bool experts = false;           ///< writes layers of experts too
  /// kUsage for parameters that do not go together; asked before weights are read.
  void (*check)(const Parameters& parameters, const Tokenizer& tokenizer) = nullptr;
  EditPlan (*plan)(const EditInput& input);
};

[[nodiscard]] std::span<const Editor* const> editor_registry();
/// kUsage with "did you mean".
[[nodiscard]] const Editor& find_editor(std::string_view name);
/// The editor that a request names, or the one for so many facts.
[[nodiscard]] const Editor& editor_of(const EditRequest& request);

}  // namespace lancet
