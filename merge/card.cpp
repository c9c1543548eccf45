#include "merge/card.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "core/text.h"
#include "version.h"

namespace lancet {
namespace {

constexpr std::string_view kUnknown = "not stated";

std::string trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\"'");
  if (first == text.npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(" \t\r\"'") - first + 1));
}

/// `license:` of a card's front matter.
std::string licence_of(const MergeInput& input) {
  const std::string card = input.card();
  if (!card.starts_with("---\n")) return std::string(kUnknown);
  const std::string_view front = std::string_view(card).substr(4, card.find("\n---", 3) - 4);
  for (const std::string_view key : {"license_name:", "license:"}) {
    for (std::size_t at = 0; at < front.size();) {
      const std::size_t end = std::min(front.find('\n', at), front.size());
      const std::string_view line = front.substr(at, end - at);
      at = end + 1;
      if (!line.starts_with(key)) continue;
      const std::string value = trimmed(line.substr(key.size()));
      if (!value.empty()) return printable(value, 100);
    }
  }
  return std::string(kUnknown);
}

/// A repository of the hub, not a path.
bool is_repository(std::string_view text) {
  return std::ranges::count(text, '/') == 1 && !text.starts_with('.') && !text.starts_with('/') &&
         !text.ends_with('/') && text.find("..") == text.npos;
}

std::string front_matter(const MergePlan& plan, const std::set<std::string>& licences) {
  std::string out = "---\n";
  std::string bases;
  for (const auto& input : plan.inputs) {
    if (is_repository(input->text())) bases += "- " + dump_json(Json(input->text())) + "\n";
  }
  if (!bases.empty()) out += "base_model:\n" + bases;
  if (licences.size() == 1 && *licences.begin() != kUnknown)
    out += "license: " + *licences.begin() + "\n";
  return out + "tags:\n- merge\n- lancet\n---\n";
}

}  // namespace

std::string model_card(const RecipeFile& recipe, const MergePlan& plan) {
  std::set<std::string> licences;
  std::string rows;
  for (const auto& input : plan.inputs) {
    const std::string licence = licence_of(*input);
    licences.insert(licence);
    rows += fmt::format("| `{}` | {} |\n", printable(input->text(), 200), licence);
  }
  std::string out = front_matter(plan, licences);
  out += fmt::format(
      "\n# A merge by {0}\n\nMade by lancet {1} from the recipe below; {2} ({3}).\n\n"
      "| input | licence |\n|---|---|\n{4}\n",
      plan.method->title, LANCET_VERSION, plan.method->name, plan.method->paper, rows);
  if (licences.size() > 1) {
    out +=
        "The inputs state different licences: whoever publishes this model must satisfy all of "
        "them.\n\n";
  }
  out += "## Recipe\n\n```yaml\n" + recipe.text + (recipe.text.ends_with('\n') ? "" : "\n") +
         "```\n\n";
  return out +
         "`lancet.json` holds the command, its options and the hashes of these files; `lancet "
         "verify` checks them.\n";
}

}  // namespace lancet
