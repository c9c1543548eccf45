// Responses that keep a form: one JSON document, closed code fences, balanced thinking tags.
#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "distill/filter.h"
#include "distill/text/trim.h"

namespace lancet {
namespace {

constexpr FilterParameter kParameters[] = {
    {.name = "json",
     .kind = FilterParameter::Kind::kFlag,
     .help = "every response is one JSON document, alone or in one code fence"},
    {.name = "key",
     .kind = FilterParameter::Kind::kList,
     .help = "a member that the JSON object must have; may come again; implies json"},
    {.name = "fences",
     .kind = FilterParameter::Kind::kFlag,
     .fallback = 1,
     .help = "code fences (``` and ~~~ at a line's beginning) are closed"},
    {.name = "tags",
     .kind = FilterParameter::Kind::kFlag,
     .fallback = 1,
     .help = "<think>, <thinking>, <tool_call>, <answer>: as many closed as opened, in order"}};

constexpr std::string_view kTags[] = {"think", "thinking", "tool_call", "answer"};

/// What stands in a fence that is the whole text, else the text.
std::string_view unfenced(std::string_view text) {
  text = trim(text);
  if (!text.starts_with("```") || !text.ends_with("```") || text.size() < 6) return text;
  const std::size_t line = text.find('\n');
  if (line == std::string_view::npos) return text;
  return trim(text.substr(line + 1, text.size() - line - 4));
}

bool fences_closed(std::string_view text) {
  std::string_view open;  // the fence that is open: its run of ` or ~
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    at = end + 1;
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    if (!line.starts_with("```") && !line.starts_with("~~~")) continue;
    const std::string_view run =
        line.substr(0, std::min(line.find_first_not_of(line[0]), line.size()));
    if (open.empty()) {
      // ```x``` in one line is a code span, not a fence.
      if (line.find(run, run.size()) == std::string_view::npos) open = run;
    } else if (run[0] == open[0] && run.size() >= open.size() && trim(line) == run) {
      open = {};
    }
  }
  return open.empty();
}

bool tags_balanced(std::string_view text, std::string_view tag) {
  const std::string open = fmt::format("<{}>", tag), close = fmt::format("</{}>", tag);
  int depth = 0;
  for (std::size_t at = 0; (at = text.find('<', at)) != std::string_view::npos; ++at) {
    if (text.substr(at).starts_with(open)) ++depth;
    if (text.substr(at).starts_with(close) && --depth < 0) return false;
  }
  return depth == 0;
}

class Format final : public RowFilter {
 public:
  explicit Format(const FilterValues& values)
      : json_(values.flag("json") || !values.list("key").empty()),
        fences_(values.flag("fences")),
        tags_(values.flag("tags")),
        keys_(values.list("key")) {}

  std::optional<Drop> inspect(const Row& row, Sketch&) const override {
    for (const RowTurn& turn : row.turns) {
      if (turn.role != "assistant" && turn.role != "chosen" && turn.role != "text") continue;
      if (fences_ && !fences_closed(turn.content)) return Drop{"open code fence", ""};
      for (const std::string_view tag : kTags) {
        if (tags_ && !tags_balanced(turn.content, tag))
          return Drop{"unbalanced tag", std::string(tag)};
      }
      if (!json_) continue;
      if (auto drop = check_json(unfenced(turn.content))) return drop;
    }
    return std::nullopt;
  }

 private:
  bool json_, fences_, tags_;
  std::vector<std::string> keys_;

  [[nodiscard]] std::optional<Drop> check_json(std::string_view text) const {
    try {
      const Json value = parse_json(text, "response");
      for (const std::string& key : keys_) {
        if (!value.is_object() || !value.contains(key)) return Drop{"JSON without a member", key};
      }
    } catch (const Error& error) {
      return Drop{"no JSON", printable(error.message(), 120)};
    }
    return std::nullopt;
  }
};

}  // namespace

extern const Filter filter_format;
const Filter filter_format{.name = "format",
                           .title = "Responses are JSON, close their code fences and tags",
                           .source = "",
                           .parameters = kParameters,
                           .make = [](const FilterValues& values, const FilterContext&) {
                             return std::unique_ptr<RowFilter>(std::make_unique<Format>(values));
                           }};

}  // namespace lancet
