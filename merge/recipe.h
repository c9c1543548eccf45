#pragma once
// A merge recipe: mergekit's YAML, read strictly. Every error and warning names file, line and
// column. Nothing here looks at a model.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "core/yaml.h"
#include "merge/method.h"

namespace lancet {

/// Where something stands in a recipe.
struct RecipePlace {
  int line = 0, column = 0;
};

/// A value of the recipe before a tensor is known: a number or flag, a gradient over layers, or
/// conditions on the tensor's name of which the first that matches holds.
struct RecipeValue {
  struct Condition {
    std::optional<std::string> filter;  ///< substring, glob (with * ? [) or /regular expression/
    std::vector<double> gradient;       ///< one value: the same for all layers
    RecipePlace place;
  };
  std::vector<Condition> conditions;
  RecipePlace place;

  /// The value for a tensor at `position` in [0, 1] of its slice, or nothing when no filter
  /// matches. Numbers are interpolated; with `pick` (flags) the gradient's element at that place is
  /// taken.
  [[nodiscard]] std::optional<double> at(std::string_view tensor, double position, bool pick) const;
};

/// True when a filter of a recipe selects this tensor.
[[nodiscard]] bool filter_matches(std::string_view filter, std::string_view tensor);

using RecipeValues = std::map<std::string, RecipeValue, std::less<>>;

struct RecipeModel {
  std::string text;     ///< as written: "path" or "path+adapter"
  std::string model;    ///< the part before '+'
  std::string adapter;  ///< after it, may be empty
  RecipePlace place;
};

/// One model's part in a slice, or a whole model of `models`.
struct RecipeSource {
  RecipeModel model;
  std::optional<std::pair<std::int64_t, std::int64_t>> layers;  ///< [begin, end)
  RecipeValues parameters;
  RecipePlace place;
};

struct RecipeSlice {
  std::vector<RecipeSource> sources;
  std::optional<RecipeModel> base;
  RecipeValues parameters;
  RecipePlace place;
};

struct RecipeModule {
  std::string name;
  std::vector<RecipeSlice> slices;  ///< or
  std::vector<RecipeSource> models;
  RecipeValues parameters;
  RecipePlace place;
};

/// Where the row of one token comes from.
struct RecipeToken {
  enum class Kind { kModel, kModelToken, kZero };
  std::string token;
  Kind kind = Kind::kModel;
  std::optional<RecipeModel> model;
  std::string model_token;  ///< or
  std::optional<std::int64_t> model_token_id;
  bool force = false;
  RecipePlace place;
};

struct RecipeTokenizer {
  std::string source = "union";  ///< "union", "base" or a model
  std::optional<RecipeModel> model;
  std::vector<RecipeToken> tokens;
  std::int64_t pad_to_multiple_of = 1;
  RecipePlace place;
};

/// What is done to the merged delta, whatever the method (merge/post.h).
struct RecipePost {
  std::optional<double> svc;    ///< calibration of singular values: its alpha
  std::optional<double> boost;  ///< subspace boosting: the share of the energy that is left alone
  /// LiNeS: the factor of the merged delta goes from alpha at the first layer to alpha + beta at
  /// the last.
  struct Lines {
    double alpha = 1, beta = 0;
    RecipePlace place;
  };
  std::optional<Lines> lines;
  RecipePlace place;

  [[nodiscard]] bool needs_linalg() const noexcept { return svc || boost; }
};

struct Recipe {
  std::string name;  ///< of a multi-document recipe's stage
  const Method* method = nullptr;
  std::vector<RecipeSource> models;  ///< exactly one of models, slices, modules is given
  std::vector<RecipeSlice> slices;
  std::vector<RecipeModule> modules;
  std::optional<RecipeModel> base;
  RecipeValues parameters;
  RecipePost post;
  std::string dtype, out_dtype;  ///< empty: kept
  bool call = false;  ///< of an expression: `dtype` is how it is computed, not what is written
  std::optional<RecipeTokenizer> tokenizer;
  std::string chat_template;  ///< empty: the base's; "auto", a name, or Jinja
  RecipePlace chat_template_place;
  RecipePlace place;
};

/// A file of one or more documents.
struct RecipeFile {
  std::string source;  ///< its path, for messages
  fs::path directory;  ///< relative paths are relative to it
  std::string text;
  std::vector<Recipe> documents;  ///< the last in order of need is the result; others have names
  std::vector<std::string> warnings;
};

/// Throws kUsage with line, column and "did you mean".
[[nodiscard]] RecipeFile parse_recipe(std::string text, std::string source, fs::path directory);
[[nodiscard]] RecipeFile read_recipe(const fs::path& path);

}  // namespace lancet
