// Fill in the middle for code (Bavarian et al. 2022, arXiv:2207.14255): a source file is cut into
// prefix, middle and suffix at line ends; the teacher writes what stands between; the person's own
// middle is the completion, or the teacher's (then the original stands beside it).
//   seed {"text"}  ->  {"prompt", "completion", "prefix", "suffix", "original"?, "source"?}
// `spans` holes a file, each of 1 to `lines` lines, at places drawn from the seed.

#include <algorithm>

#include "distill/turn.h"

namespace lancet {
namespace {

using Kind = DataParameter::Kind;
constexpr std::string_view kTargets[] = {"original", "teacher"};
constexpr DataParameter kParameters[] = {
    {.name = "spans",
     .kind = Kind::kInteger,
     .fallback = 4,
     .minimum = 1,
     .maximum = 100,
     .help = "Holes in each file"},
    {.name = "lines",
     .kind = Kind::kInteger,
     .fallback = 10,
     .minimum = 1,
     .maximum = 200,
     .help = "Lines of a hole at most"},
    {.name = "context",
     .kind = Kind::kInteger,
     .fallback = 6000,
     .minimum = 200,
     .maximum = 200000,
     .help = "Characters shown before and after the hole at most"},
    {.name = "target",
     .kind = Kind::kWord,
     .help = "Whose middle is the completion",
     .word = "original",
     .choices = kTargets},
    {.name = "describe",
     .kind = Kind::kFlag,
     .fallback = 0,
     .help = "The teacher first says what the middle must do; it becomes part of the prompt"}};
constexpr std::string_view kPrompts[] = {"fill", "describe"};

struct Hole {
  std::string prefix, middle, suffix;
};

std::vector<Hole> holes_of(const Turn& turn, const std::string& text) {
  std::vector<std::size_t> starts{0};
  for (std::size_t at = 0; (at = text.find('\n', at)) != text.npos;) starts.push_back(++at);
  std::vector<Hole> out;
  if (starts.size() < 4) return out;
  const Random random = turn.random("holes");
  const std::size_t context = turn.count("context");
  for (std::uint32_t i = 0; i < turn.count("spans"); ++i) {
    const auto draw = [&](std::uint64_t element, std::size_t below) {
      return std::min(below - 1,
                      static_cast<std::size_t>(random.uniform64(std::uint64_t{2} * i + element) *
                                               static_cast<double>(below)));
    };
    const std::size_t first = 1 + draw(0, starts.size() - 2);
    const std::size_t most = std::min<std::size_t>(turn.count("lines"), starts.size() - 1 - first);
    const std::size_t last = first + 1 + draw(1, std::max<std::size_t>(1, most));
    const std::size_t begin = starts[first], end = starts[std::min(last, starts.size() - 1)];
    // Context begins and ends at line ends too: no character is cut.
    const auto near =
        std::lower_bound(starts.begin(), starts.end(), begin > context ? begin - context : 0);
    const auto far = std::upper_bound(starts.begin(), starts.end(), end + context);
    const std::size_t stop = end + context >= text.size() ? text.size() : *(far - 1);
    Hole hole{text.substr(*near, begin - *near), text.substr(begin, end - begin),
              text.substr(end, stop - end)};
    if (hole.middle.find_first_not_of(" \t\r\n") != hole.middle.npos)
      out.push_back(std::move(hole));
  }
  return out;
}

/// Code without the fence that models put around it.
std::string unfenced(std::string text) {
  const std::size_t open = text.find("```");
  if (open == text.npos) return text;
  const std::size_t from = text.find('\n', open);
  const std::size_t close = from == text.npos ? text.npos : text.find("```", from);
  if (close == text.npos) return text;
  return text.substr(from + 1, close - from - 1);
}

void run(Turn& turn) {
  const auto holes = holes_of(turn, turn.text("text"));
  if (holes.empty()) turn.drop("file too short");
  const bool teacher = turn.word("target") == "teacher";
  std::vector<Ask> asks;
  for (const Hole& hole : holes) {
    const PromptValues parts{
        {"prefix", hole.prefix}, {"suffix", hole.suffix}, {"middle", hole.middle}};
    if (turn.flag("describe"))
      asks.push_back({.messages = chat(turn.prompt("describe", parts)), .may_fail = true});
    if (teacher) asks.push_back({.messages = chat(turn.prompt("fill", parts)), .may_fail = true});
  }
  const auto answers = turn.ask_all(std::move(asks));
  std::size_t next = 0;
  for (const Hole& hole : holes) {
    const TeacherAnswer* says = turn.flag("describe") ? answers[next++] : nullptr;
    const TeacherAnswer* fills = teacher ? answers[next++] : nullptr;
    const bool bad = (says != nullptr && says->ending != Ending::kOk) ||
                     (fills != nullptr && fills->ending != Ending::kOk);
    if (bad) continue;
    Json row{{"prompt", turn.prompt("fill", {{"prefix", hole.prefix}, {"suffix", hole.suffix}})},
             {"completion", fills != nullptr ? unfenced(fills->text) : hole.middle},
             {"prefix", hole.prefix},
             {"suffix", hole.suffix}};
    if (says != nullptr) row["prompt"] = row["prompt"].get<std::string>() + "\n\n" + says->text;
    if (teacher) row["original"] = hole.middle;
    if (turn.seed().contains("source")) row["source"] = turn.seed()["source"];
    turn.emit(std::move(row));
  }
}

}  // namespace

extern const DataRecipe data_recipe_fim{.name = "fim",
                                        .title = "Code with a hole, and what fills it",
                                        .paper = "arXiv:2207.14255",
                                        .needs = "text",
                                        .parameters = kParameters,
                                        .prompts = kPrompts,
                                        .requests =
                                            [](const DataOptions& options) {
                                              return 2 *
                                                     static_cast<std::uint64_t>(options.numbers[0]);
                                            },
                                        .run = run,
                                        .rows = RowKind::kPromptCompletion};

}  // namespace lancet
