#include "merge/recipe.h"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <set>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "merge/expression.h"
#include "merge/recipe_reader.h"

namespace lancet {
namespace {

/// One document.
class DocumentParser {
 public:
  DocumentParser(const RecipeReader& reader, const Node& node) : reader_(reader), node_(node) {}

  /// The documents that this one stands for, itself last.
  std::vector<Recipe> parse(int& calls) {
    if (given("expression") != nullptr) return parse_sum(calls);
    reader_.keys(node_, {"merge_method", "models", "slices", "modules", "base_model", "parameters",
                         "dtype", "out_dtype", "tokenizer_source", "tokenizer", "chat_template",
                         "name", "post", "lines", "random_seed"});
    recipe_.place = place_of(node_);
    if (const Node* seed = given("random_seed"))
      reader_.warn(*seed, "random_seed: has no effect, as in mergekit; give --seed");
    parse_method();
    if (const Node* node = given("base_model")) recipe_.base = reader_.model(*node);
    if (const Node* node = given("parameters"))
      recipe_.parameters = reader_.values(*node, *recipe_.method);
    parse_post();
    read_inputs(reader_, node_, recipe_);
    parse_common();
    return {std::move(recipe_)};
  }

 private:
  const RecipeReader& reader_;
  const Node& node_;
  Recipe recipe_;

  const Node* given(std::string_view key) const { return lancet::given(node_, key); }

  void parse_method() {
    const Node* node = given("merge_method");
    if (node == nullptr)
      reader_.refuse(node_, "expected merge_method, found none",
                     "say merge_method: linear, ties, ...");
    const std::string name = reader_.text(*node, "merge_method");
    recipe_.method = find_merge_method(name);
    if (recipe_.method != nullptr) return;
    std::vector<std::string_view> known;
    for (const Method* method : merge_method_registry()) known.push_back(method->name);
    std::string hint = did_you_mean(name, known);
    if (hint.empty()) hint = fmt::format("methods: {}", fmt::join(known, ", "));
    reader_.refuse(*node, fmt::format("unknown merge_method '{}'", printable(name)),
                   std::move(hint));
  }

  /// `expression` instead of a method, with `models` as a mapping of names.
  std::vector<Recipe> parse_sum(int& calls) {
    reader_.keys(node_, {"expression", "models", "dtype", "out_dtype", "tokenizer_source",
                         "tokenizer", "chat_template", "name"});
    const Node* names = given("models");
    if (names == nullptr || names->kind != Node::Kind::kMapping || names->entries.empty()) {
      reader_.refuse(names == nullptr ? node_ : *names, "expected models as a mapping of names",
                     "say models: {base: PATH, coder: PATH}");
    }
    ExpressionNames models;
    for (const auto& [key, value] : names->entries) {
      const bool plain = !key.scalar.empty() && std::isdigit(key.scalar[0]) == 0 &&
                         std::ranges::all_of(key.scalar, [](unsigned char c) {
                           return std::isalnum(c) != 0 || c == '_';
                         });
      if (!plain)
        reader_.refuse(key, fmt::format("'{}': expected a name of letters, digits and _",
                                        printable(key.scalar)));
      models.emplace(key.scalar, reader_.model(value));
    }
    std::vector<Recipe> out = parse_expression(reader_, *given("expression"), models, calls);
    recipe_ = std::move(out.back());
    for (const auto& [key, value] : names->entries) {
      if (!uses(out, recipe_, models.at(key.scalar)))
        reader_.warn(key, fmt::format("the expression does not use '{}'", printable(key.scalar)));
    }
    parse_common();
    for (std::size_t i = 0; i + 1 < out.size(); ++i) {
      // A union of all tokens is one of some of them first.
      const bool joined = recipe_.tokenizer && recipe_.tokenizer->source == "union";
      if (joined && recipe_.tokenizer->tokens.empty()) out[i].tokenizer = recipe_.tokenizer;
    }
    out.back() = std::move(recipe_);
    return out;
  }

  static bool uses(const std::vector<Recipe>& stages, const Recipe& result,
                   const RecipeModel& model) {
    const auto in = [&](const Recipe& recipe) {
      return (recipe.base && recipe.base->text == model.text) ||
             std::ranges::any_of(recipe.models, [&](const RecipeSource& source) {
               return source.model.text == model.text;
             });
    };
    return in(result) || std::any_of(stages.begin(), std::prev(stages.end()), in);
  }

  /// What a recipe of either form may say.
  void parse_common() {
    if (const Node* node = given("name")) recipe_.name = reader_.text(*node, "name");
    if (const Node* node = given("dtype")) recipe_.dtype = dtype(*node);
    if (const Node* node = given("out_dtype")) recipe_.out_dtype = dtype(*node);
    if (const Node* node = given("chat_template")) {
      recipe_.chat_template = reader_.text(*node, "chat_template");
      recipe_.chat_template_place = place_of(*node);
    }
    parse_tokenizer();
  }

  void parse_post() {
    const Node* post = given("post");
    const Node* lines = given("lines");
    if (post != nullptr) recipe_.post = reader_.post(*post);
    if (lines != nullptr) recipe_.post.lines = reader_.lines(*lines);
    if (post != nullptr && recipe_.method->flat_spectrum) {
      reader_.refuse(
          *post,
          fmt::format("expected a method whose result has directions of its own, found {}",
                      recipe_.method->name),
          "it gives all directions the same singular value: there is nothing to adjust");
    }
    const Node* node = post != nullptr ? post : lines;
    if (node == nullptr || (recipe_.method->base != BaseUse::kNone && recipe_.base)) return;
    reader_.refuse(*node,
                   fmt::format("expected a method that merges differences from a base_model, found "
                               "{}{}",
                               recipe_.method->name, recipe_.base ? "" : " without a base_model"),
                   "post and lines change the merged delta");
  }

  /// "bfloat16", also "torch.bfloat16"; null and "auto" keep what is stored.
  std::string dtype(const Node& node) const {
    std::string name = reader_.text(node, "dtype");
    if (name.starts_with("torch.")) name.erase(0, 6);
    constexpr std::array<std::string_view, 4> kKnown{"float32", "bfloat16", "float16", "float64"};
    if (std::ranges::find(kKnown, name) != kKnown.end()) return name;
    reader_.refuse(node,
                   fmt::format("dtype: expected float32, bfloat16, float16 or float64, found '{}'",
                               printable(name)),
                   did_you_mean(name, {kKnown.begin(), kKnown.end()}));
  }

  void parse_tokenizer() {
    const Node* source = given("tokenizer_source");
    const Node* block = given("tokenizer");
    if (source != nullptr && block != nullptr) {
      reader_.refuse(*block, "expected either tokenizer_source or tokenizer, found both");
    }
    if (source != nullptr) recipe_.tokenizer = reader_.tokenizer(*source);
    if (block != nullptr) recipe_.tokenizer = reader_.tokenizer(*block);
  }
};

void check_names(const RecipeFile& file, const RecipeReader& reader,
                 const std::vector<Node>& nodes) {
  if (file.documents.size() < 2) return;
  std::set<std::string> names;
  std::size_t results = 0;
  for (std::size_t i = 0; i < file.documents.size(); ++i) {
    const std::string& name = file.documents[i].name;
    if (name.empty()) ++results;
    if (!name.empty() && !names.insert(name).second) {
      reader.refuse(nodes[i], fmt::format("two documents are named '{}'", printable(name)));
    }
  }
  if (results > 1)
    reader.refuse(nodes.back(), "expected one document without a name (the result), found several");
}

}  // namespace

RecipeFile parse_recipe(std::string text, std::string source, fs::path directory) {
  RecipeFile file{std::move(source), std::move(directory), std::move(text), {}, {}};
  std::vector<Node> nodes = parse_yaml(file.text, file.source);
  std::erase_if(nodes, [](const Node& node) { return node.kind == Node::Kind::kNull; });
  if (nodes.empty()) {
    fail(
        ErrorKind::kUsage, "merge",
        fmt::format("{}: expected a recipe, found an empty document", printable(file.source, 400)));
  }
  const RecipeReader reader(file.source, file.warnings);
  std::vector<Recipe> stages;  // of expressions
  int calls = 0;
  for (const Node& node : nodes) {
    std::vector<Recipe> documents = DocumentParser(reader, node).parse(calls);
    file.documents.push_back(std::move(documents.back()));
    documents.pop_back();
    std::ranges::move(documents, std::back_inserter(stages));
  }
  check_names(file, reader, nodes);
  file.documents.insert(file.documents.begin(), std::make_move_iterator(stages.begin()),
                        std::make_move_iterator(stages.end()));
  return file;
}

RecipeFile read_recipe(const fs::path& path) {
  constexpr std::uint64_t kLimit = 16ULL << 20;
  return parse_recipe(read_file(path, kLimit), path.string(), path.parent_path());
}

}  // namespace lancet
