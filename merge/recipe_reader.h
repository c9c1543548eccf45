#pragma once
// What the parsers of a recipe's parts share: the file's name for messages, and typed access to
// nodes.

#include <string>
#include <string_view>
#include <vector>

#include "merge/recipe.h"

namespace lancet {

class RecipeReader {
 public:
  /// `operation` heads the errors.
  RecipeReader(std::string source, std::vector<std::string>& warnings,
               std::string_view operation = "merge")
      : source_(std::move(source)), warnings_(warnings), operation_(operation) {}

  [[noreturn]] void refuse(const Node& node, const std::string& message,
                           std::string hint = {}) const;
  void warn(const Node& node, const std::string& message) const;

  /// The mapping's keys are all in `known`, else "did you mean".
  void keys(const Node& mapping, const std::vector<std::string_view>& known) const;
  [[nodiscard]] const Node& sequence(const Node& node, std::string_view what) const;
  [[nodiscard]] std::string text(const Node& node, std::string_view what) const;
  [[nodiscard]] bool flag(const Node& node, std::string_view what) const;
  [[nodiscard]] std::int64_t integer(const Node& node, std::string_view what,
                                     std::int64_t least) const;
  [[nodiscard]] RecipeModel model(const Node& node) const;
  [[nodiscard]] RecipeTokenizer tokenizer(const Node& node) const;
  [[nodiscard]] RecipePost post(const Node& node) const;
  [[nodiscard]] RecipePost::Lines lines(const Node& node) const;
  /// A value in the parameter's range.
  [[nodiscard]] double scalar(const Node& node, const MergeParameter& parameter) const;
  /// A `parameters` block: names and ranges are those of the method.
  [[nodiscard]] RecipeValues values(const Node& node, const Method& method) const;

 private:
  std::string source_;
  std::vector<std::string>& warnings_;
  std::string_view operation_;

  /// PATH, or mergekit's {path: PATH, revision: NAME} as PATH@NAME (a repository of the local
  /// cache).
  [[nodiscard]] std::string path(const Node& node, std::string_view what) const;
  [[nodiscard]] RecipeToken token(const std::string& name, const Node& node) const;
  [[nodiscard]] RecipeValue value(const Node& node, const MergeParameter& parameter) const;
  void add_condition(RecipeValue& out, const Node& node, const MergeParameter& parameter) const;
  [[nodiscard]] std::vector<double> gradient(const Node& node,
                                             const MergeParameter& parameter) const;
  /// The entry of `mapping` that the parameter names, or its fallback.
  [[nodiscard]] double number_in(const Node& mapping, const MergeParameter& parameter) const;
  [[nodiscard]] double word(const Node& node, const MergeParameter& parameter) const;
};

[[nodiscard]] inline RecipePlace place_of(const Node& node) { return {node.line, node.column}; }
/// The value of a key, null where it is not there or is YAML's null.
[[nodiscard]] inline const Node* given(const Node& mapping, std::string_view key) {
  const Node* node = mapping.find(key);
  return node == nullptr || node->kind == Node::Kind::kNull ? nullptr : node;
}
/// Models, slices or modules of a document whose method is known.
void read_inputs(const RecipeReader& reader, const Node& node, Recipe& recipe);

}  // namespace lancet
