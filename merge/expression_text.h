#pragma once
// The characters of an expression: blanks, numbers, names, and where in the recipe they stand; and
// the sum that one comes to.

#include <map>
#include <string>

#include "merge/recipe_reader.h"

namespace lancet {

/// constant + sum of factor * model; a model is one of the recipe's names or the result of a call.
struct Affine {
  double constant = 0;
  std::map<std::string, double> factors;

  void add(const Affine& other, double sign) {
    constant += sign * other.constant;
    for (const auto& [name, factor] : other.factors) {
      double& own = factors[name];
      own += sign * factor;
      if (own == 0) factors.erase(name);
    }
  }
  void scale(double factor) {
    constant *= factor;
    for (auto& [name, own] : factors) own *= factor;
    std::erase_if(factors, [](const auto& entry) { return entry.second == 0; });
  }
};

class ExpressionText {
 protected:
  ExpressionText(const RecipeReader& reader, const Node& node)
      : reader_(reader), node_(node), text_(reader.text(node, "expression")) {}

  const RecipeReader& reader_;
  const Node& node_;
  std::string text_;
  std::size_t at_ = 0;  ///< the next character

  void skip_blanks();
  bool done();
  bool next_is(char c);
  bool take(char c);
  void need(char c);
  [[nodiscard]] std::string rest() const;
  [[nodiscard]] std::string found();
  /// The place of text_[at] in the file, where the scalar stands on one line as it is.
  [[nodiscard]] Node place_at(std::size_t at) const;
  /// At the next character.
  [[noreturn]] void refuse(const std::string& message, std::string hint = {}) const;

  double parse_number();
  std::string parse_name();
};

}  // namespace lancet
