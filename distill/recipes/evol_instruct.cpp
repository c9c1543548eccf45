// Evol-Instruct (WizardLM, Xu et al. 2023, arXiv:2304.12244): an instruction is made harder in one
// of several ways (depth) or turned into a rarer one (breadth), several rounds on; a step that
// gains nothing is eliminated, and the instruction before it goes on.
//   seed {"prompt"}  ->  one row {"messages", "evolution": [...]} for each instruction kept
// Eliminated: a copy (ROUGE-L above `similarity`), the judge sees no gain, the answer apologises or
// is a stub, words of the prompt leak into the instruction.

#include <algorithm>
#include <array>

#include "distill/judge.h"
#include "distill/overlap.h"

namespace lancet {
namespace {

using Kind = DataParameter::Kind;
constexpr DataParameter kParameters[] = {
    {.name = "rounds",
     .kind = Kind::kInteger,
     .fallback = 4,
     .minimum = 1,
     .maximum = 10,
     .help = "Evolutions of each instruction"},
    {.name = "breadth",
     .fallback = 0.2,
     .minimum = 0,
     .maximum = 1,
     .help = "Share of evolutions in breadth"},
    {.name = "similarity",
     .fallback = 0.9,
     .minimum = 0,
     .maximum = 1,
     .help = "An evolution with a larger ROUGE-L to its origin is a copy"},
    {.name = "judge",
     .kind = Kind::kFlag,
     .fallback = 1,
     .help = "The teacher says whether an evolution gained anything"},
    {.name = "keep_seed",
     .kind = Kind::kFlag,
     .fallback = 0,
     .help = "Also a row for the seed itself"}};
constexpr std::string_view kPrompts[] = {"constraints", "deepen",  "concretise", "reasoning",
                                         "complicate",  "breadth", "equal"};
constexpr std::array<const char*, 5> kDepth{"constraints", "deepen", "concretise", "reasoning",
                                            "complicate"};

bool leaks(const std::string& text) {
  const auto words = plain_words(text);
  const auto has = [&words](std::initializer_list<const char*> phrase) {
    return std::search(words.begin(), words.end(), phrase.begin(), phrase.end()) != words.end();
  };
  return has({"given", "prompt"}) || has({"rewritten", "prompt"}) || has({"new", "prompt"}) ||
         has({"created", "prompt"});
}

bool is_poor(const TeacherAnswer& answer) {
  if (answer.ending != Ending::kOk) return true;
  const auto words = plain_words(answer.text);
  const bool sorry = std::find(words.begin(), words.end(), "sorry") != words.end();
  return words.size() < 3 || (sorry && words.size() < 80);
}

const char* operation(const Turn& turn, std::uint32_t round) {
  const Random random = turn.random("evolution");
  if (random.uniform64(std::uint64_t{2} * round) < turn.number("breadth")) return "breadth";
  const double pick =
      random.uniform64(std::uint64_t{2} * round + 1) * static_cast<double>(kDepth.size());
  return kDepth[std::min(static_cast<std::size_t>(pick), kDepth.size() - 1)];
}

bool gained(Turn& turn, const std::string& before, const std::string& after) {
  if (rouge_l(plain_words(before), plain_words(after)) > turn.number("similarity") || leaks(after))
    return false;
  if (!turn.flag("judge")) return true;
  const TeacherAnswer& verdict =
      turn.ask(judge_ask(turn.prompt("equal", {{"first", before}, {"second", after}})));
  return read_score(verdict.text).value_or(0) >= 1;
}

void run(Turn& turn) {
  std::string current = turn.text("prompt");
  Json evolution = Json::array();
  if (turn.flag("keep_seed")) {
    const TeacherAnswer& answer = turn.ask({.messages = chat(current), .may_fail = true});
    if (!is_poor(answer))
      turn.emit(
          {{"messages", with(chat(current), "assistant", answer.text)}, {"evolution", evolution}},
          &answer);
  }
  bool any = false;
  for (std::uint32_t round = 0; round < turn.count("rounds"); ++round) {
    const char* how = operation(turn, round);
    const TeacherAnswer& evolved =
        turn.ask({.messages = chat(turn.prompt(how, {{"prompt", current}})), .may_fail = true});
    if (evolved.ending != Ending::kOk || !gained(turn, current, evolved.text)) continue;
    const TeacherAnswer& answer = turn.ask({.messages = chat(evolved.text), .may_fail = true});
    if (is_poor(answer)) continue;
    current = evolved.text;
    evolution.push_back(how);
    any = true;
    turn.emit(
        {{"messages", with(chat(current), "assistant", answer.text)}, {"evolution", evolution}},
        &answer);
  }
  if (!any && !turn.flag("keep_seed")) turn.drop("no evolution gained anything");
}

}  // namespace

extern const DataRecipe data_recipe_evol_instruct{
    .name = "evol_instruct",
    .title = "Instructions made harder and rarer, step by step",
    .paper = "arXiv:2304.12244",
    .needs = "prompt",
    .parameters = kParameters,
    .prompts = kPrompts,
    .requests =
        [](const DataOptions& options) {
          return static_cast<std::uint64_t>(3 * options.numbers[0] + 1);
        },
    .run = run};

}  // namespace lancet
