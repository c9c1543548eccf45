#include "distill/prompts.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/file.h"
#include "core/text.h"

namespace lancet {

std::string fill_prompt(std::string_view text, PromptValues values, std::string_view source) {
  std::string out;
  std::size_t at = 0;
  while (true) {
    const std::size_t open = text.find("{{", at);
    out += text.substr(at, open - at);
    if (open == text.npos) return out;
    const std::size_t close = text.find("}}", open);
    if (close == text.npos)
      fail(ErrorKind::kUsage, "prompt", fmt::format("{}: '{{{{' without '}}}}'", source));
    const std::string_view name = text.substr(open + 2, close - open - 2);
    const auto found = std::find_if(values.begin(), values.end(),
                                    [&](const auto& each) { return each.first == name; });
    if (found == values.end()) {
      std::string known;
      for (const auto& each : values) known += fmt::format(" {{{{{}}}}}", each.first);
      fail(ErrorKind::kUsage, "prompt",
           fmt::format("{}: nothing is called '{}' here", source, printable(name)),
           "known:" + known);
    }
    out += found->second;
    at = close + 2;
  }
}

PromptLibrary::PromptLibrary(std::string recipe, fs::path own)
    : recipe_(std::move(recipe)), own_(std::move(own)) {
  std::error_code ignored;
  if (own_.empty() || fs::is_directory(own_ / recipe_, ignored)) return;
  fail(ErrorKind::kInput, "prompt",
       fmt::format("expected a folder of edited prompts, found none at '{}'",
                   printable((own_ / recipe_).string())),
       "edited prompts lie in DIR/RECIPE/NAME.txt, as in share/prompts");
}

const std::string& PromptLibrary::text(const std::string& name) const {
  const auto known = texts_.find(name);
  if (known != texts_.end()) return known->second;
  const fs::path file = fs::path(recipe_) / (name + ".txt");
  std::error_code ignored;
  const bool mine = !own_.empty() && fs::exists(own_ / file, ignored);
  std::string text = read_file(mine ? own_ / file : share_dir() / "prompts" / file, 1 << 20);
  while (text.ends_with('\n')) text.pop_back();
  return texts_.emplace(name, std::move(text)).first->second;
}

std::string PromptLibrary::fill(const std::string& name, PromptValues values) const {
  return fill_prompt(text(name), values, recipe_ + "/" + name + ".txt");
}

}  // namespace lancet
