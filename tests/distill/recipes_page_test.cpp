// docs/recipes.md is what the recipes' descriptors and the heads of their files say;
// LANCET_UPDATE_DOCS=1 writes it anew.

#include <cstdlib>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/file.h"
#include "core/text.h"
#include "distill/recipe.h"
#include "tests/catch.h"

using namespace lancet;

namespace {

using Kind = DataParameter::Kind;

/// The comment at the head of distill/recipes/NAME.cpp: paragraphs; lines set in by two more blanks
/// (what a seed becomes) as code.
std::string head_of(const DataRecipe& recipe) {
  const std::string source = read_file(fs::path(LANCET_SOURCE_DIR) / "distill" / "recipes" /
                                       (std::string(recipe.name) + ".cpp"));
  std::string out;
  bool code = false;
  for (std::size_t at = 0; source.compare(at, 2, "//") == 0;) {
    const std::size_t end = source.find('\n', at);
    const std::string_view line = std::string_view(source).substr(at, end - at);
    at = end + 1;
    const bool shape = line.starts_with("//   ");
    if (shape != code) out += "```\n";
    code = shape;
    const std::size_t skip = shape ? 5 : std::min<std::size_t>(3, line.size());
    out += std::string(line.substr(skip)) + "\n";
  }
  return out + (code ? "```\n" : "");
}

/// For a cell of a table.
std::string escaped(std::string text) {
  for (std::size_t at = 0; (at = text.find('|', at)) != text.npos; at += 2)
    text.insert(at, 1, '\\');
  return text;
}

std::string fallback_text(const DataParameter& parameter) {
  switch (parameter.kind) {
    case Kind::kFlag:
      return parameter.fallback != 0 ? "true" : "false";
    case Kind::kWord:
      return parameter.word.empty() ? "" : "`" + escaped(dump_json(Json(parameter.word))) + "`";
    default:
      return fmt::format("{:g}", parameter.fallback);
  }
}

std::string range_text(const DataParameter& parameter) {
  if (parameter.kind == Kind::kFlag) return "true, false";
  if (parameter.kind == Kind::kWord)
    return parameter.choices.empty() ? "any text"
                                     : fmt::format("{}", fmt::join(parameter.choices, ", "));
  return fmt::format("{:g} to {:g}{}", parameter.minimum, parameter.maximum,
                     parameter.kind == Kind::kInteger ? ", whole" : "");
}

std::string paper_text(std::string_view paper) {
  constexpr std::string_view kArxiv = "arXiv:";
  if (!paper.starts_with(kArxiv)) return std::string(paper);
  return fmt::format("[{}](https://arxiv.org/abs/{})", paper, paper.substr(kArxiv.size()));
}

std::string section(const DataRecipe& recipe) {
  std::string out = fmt::format("## {}\n\n{}. {}\n\n{}\n", recipe.name, recipe.title,
                                paper_text(recipe.paper), head_of(recipe));
  out += fmt::format(
      "A seed holds `{}`, and takes at most {} requests with the defaults. Route: {}{}.\n",
      recipe.needs, recipe.requests(default_options(recipe)),
      recipe.completions ? "`/v1/completions` (raw text)" : "`/v1/chat/completions`",
      recipe.executes ? "; what the teacher wrote is run in the sandbox" : "");
  if (!recipe.prompts.empty()) {
    std::vector<std::string> files;
    for (const std::string_view name : recipe.prompts)
      files.push_back(fmt::format("[`{0}.txt`](../share/prompts/{1}/{0}.txt)", name, recipe.name));
    out += fmt::format("Prompts: {}.\n", fmt::join(files, ", "));
  }
  if (recipe.parameters.empty()) return out;
  out += "\n| option | default | range | |\n|---|---|---|---|\n";
  for (const DataParameter& each : recipe.parameters)
    out += fmt::format("| `{}` | {} | {} | {} |\n", each.name, fallback_text(each),
                       range_text(each), each.help);
  return out;
}

std::string page() {
  std::string out =
      "# Data recipes\n\n"
      "What `data.recipe` of a job, or `--recipe`, may name ([distillation](distillation.md)). "
      "This "
      "page is made from the recipes themselves (`distill/recipes/*.cpp`). Options stand under "
      "`data.options`, or in `--set name=value`; the prompts are text files, and `data.prompts: "
      "DIR` "
      "lays a folder of edited ones over them.\n";
  for (const DataRecipe* recipe : data_recipe_registry()) out += "\n" + section(*recipe);
  return out;
}

}  // namespace

TEST_CASE("docs: docs/recipes.md is what the recipes say of themselves") {
  const fs::path path = fs::path(LANCET_SOURCE_DIR) / "docs" / "recipes.md";
  if (std::getenv("LANCET_UPDATE_DOCS") != nullptr) write_file(path, page());
  CHECK(read_file(path) == page());
}
