#pragma once
// Prompts of the data recipes: text files that people edit, with {{name}} where a value goes.

#include <filesystem>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <utility>

namespace lancet {

using PromptValues = std::initializer_list<std::pair<std::string_view, std::string_view>>;

/// `text` with every {{name}} replaced once (values are not looked into). A name without a value is
/// kUsage; a value without a place is not.
[[nodiscard]] std::string fill_prompt(std::string_view text, PromptValues values,
                                      std::string_view source);

class PromptLibrary {
 public:
  /// Files RECIPE/NAME.txt under `own` (may be empty) where they stand there, else under
  /// share/prompts. kInput where `own` has no folder RECIPE.
  PromptLibrary(std::string recipe, std::filesystem::path own);
  /// The prompt NAME, filled. A trailing newline of the file is no part of it.
  [[nodiscard]] std::string fill(const std::string& name, PromptValues values) const;
  /// Text of the file, read once.
  [[nodiscard]] const std::string& text(const std::string& name) const;

 private:
  std::string recipe_;
  std::filesystem::path own_;
  mutable std::map<std::string, std::string> texts_;
};

}  // namespace lancet
