// Code with execution feedback, as Llama 3 made a million dialogues (arXiv:2407.21783
// section 4.3.1): a snippet inspires a problem (OSS-Instruct, arXiv:2312.02120); the teacher solves
// it and writes tests; both run in the sandbox; on failure it sees what came out and mends code or
// tests, up to `rounds` times. Only what passes stays; translations into another language run too.
//   seed {"text"}  ->  {"messages", "language", "tests", "rounds", "translated_from"?}
// Guards: tests must fail without the solution, and passing ones must pass a second time.

#include <algorithm>

#include "distill/turn.h"

namespace lancet {
namespace {

using Kind = DataParameter::Kind;
constexpr std::string_view kLanguages[] = {"python", "cpp", "sh"};
constexpr std::string_view kTargets[] = {"none", "python", "cpp", "sh"};
constexpr DataParameter kParameters[] = {
    {.name = "language",
     .kind = Kind::kWord,
     .help = "Of the solution",
     .word = "python",
     .choices = kLanguages},
    {.name = "rounds",
     .kind = Kind::kInteger,
     .fallback = 3,
     .minimum = 0,
     .maximum = 20,
     .help = "Repairs after a failure at most"},
    {.name = "translate_to",
     .kind = Kind::kWord,
     .help = "Also a row in this language, run as well",
     .word = "none",
     .choices = kTargets},
    {.name = "keep_repairs",
     .kind = Kind::kFlag,
     .fallback = 0,
     .help = "The row's conversation shows the faulty solution, what it printed, and the repair"}};
constexpr std::string_view kPrompts[] = {"problem", "solve", "tests", "repair", "translate"};

struct Blocks {
  std::string solution, tests;
};

/// Fenced blocks of a text, in order.
std::vector<std::string> fenced(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t at = text.find("```"); at != text.npos; at = text.find("```", at)) {
    const std::size_t from = text.find('\n', at);
    const std::size_t close = from == text.npos ? text.npos : text.find("\n```", from);
    if (close == text.npos) break;
    out.push_back(text.substr(from + 1, close - from));
    at = close + 4;
  }
  return out;
}

std::string program_of(const Blocks& blocks) { return blocks.solution + "\n" + blocks.tests; }

/// What the teacher sees of a failed run.
std::string report_of(const TeacherAnswer& run) {
  return "result: " + run.text + " (" + run.finish + ")\n" + run.message;
}

struct Passed {
  Blocks blocks;
  std::uint32_t rounds = 0;
  Json messages;                ///< from the problem to the solution that passes
  const TeacherAnswer* answer;  ///< which said it
};

/// Runs and mends until the tests pass; drops when they never do.
Passed mend(Turn& turn, const std::string& language, const std::string& problem, Blocks blocks,
            const TeacherAnswer& first) {
  Passed out{std::move(blocks), 0, with(chat(problem), "assistant", first.text), &first};
  while (true) {
    const TeacherAnswer& run = turn.execute(language, program_of(out.blocks));
    if (run.text == "ok") return out;
    if (out.rounds == turn.count("rounds")) turn.drop("the tests fail");
    ++out.rounds;
    const std::string report = report_of(run);
    const TeacherAnswer& repaired =
        turn.ask({.messages = chat(turn.prompt("repair", {{"language", language},
                                                          {"problem", problem},
                                                          {"solution", out.blocks.solution},
                                                          {"tests", out.blocks.tests},
                                                          {"report", report}}))});
    const auto parts = fenced(repaired.text);
    if (parts.empty()) turn.drop("no code");
    out.blocks.solution = parts[0];
    if (parts.size() > 1) out.blocks.tests = parts[1];
    out.messages = with(std::move(out.messages), "user", "It fails:\n\n" + report);
    out.messages = with(std::move(out.messages), "assistant",
                        "```" + language + "\n" + out.blocks.solution + "```");
    out.answer = nullptr;  // these words are put together here
  }
}

/// Tests that pass alone test nothing; those that pass only sometimes, neither.
void guard(Turn& turn, const std::string& language, const Blocks& blocks) {
  if (turn.execute(language, blocks.tests).text == "ok") turn.drop("the tests test nothing");
  if (turn.execute(language, program_of(blocks)).text != "ok") turn.drop("the tests are flaky");
}

void translate(Turn& turn, const std::string& from, const std::string& problem,
               const Blocks& blocks) {
  const std::string to = turn.word("translate_to");
  if (to == "none" || to == from) return;
  const TeacherAnswer& answer =
      turn.ask({.messages = chat(turn.prompt("translate", {{"from", from},
                                                           {"language", to},
                                                           {"solution", blocks.solution},
                                                           {"tests", blocks.tests}})),
                .may_fail = true});
  const auto parts =
      answer.ending == Ending::kOk ? fenced(answer.text) : std::vector<std::string>{};
  if (parts.size() < 2) return;
  const Blocks other{parts[0], parts[1]};
  if (turn.execute(to, program_of(other)).text != "ok" ||
      turn.execute(to, other.tests).text == "ok")
    return;
  const std::string question = problem + "\n\nWrite it in " + to + ".";
  turn.emit({{"messages", with(chat(question), "assistant", "```" + to + "\n" + parts[0] + "```")},
             {"language", to},
             {"tests", other.tests},
             {"rounds", 0},
             {"translated_from", from}});
}

void run(Turn& turn) {
  const std::string language = turn.word("language");
  const TeacherAnswer& problem = turn.ask(
      {.messages =
           chat(turn.prompt("problem", {{"language", language}, {"snippet", turn.text("text")}}))});
  const TeacherAnswer& solution =
      turn.ask({.messages = chat(
                    turn.prompt("solve", {{"language", language}, {"problem", problem.text}}))});
  const auto code = fenced(solution.text);
  if (code.empty()) turn.drop("no code");
  const TeacherAnswer& tests =
      turn.ask({.messages = chat(turn.prompt("tests", {{"language", language},
                                                       {"problem", problem.text},
                                                       {"solution", code.back()}}))});
  const auto checks = fenced(tests.text);
  if (checks.empty()) turn.drop("no tests");
  const Passed passed = mend(turn, language, problem.text, {code.back(), checks.back()}, solution);
  guard(turn, language, passed.blocks);
  const bool mended = passed.rounds > 0;
  const std::string last = "```" + language + "\n" + passed.blocks.solution + "```";
  Json messages = turn.flag("keep_repairs") || !mended
                      ? passed.messages
                      : with(chat(problem.text), "assistant", last);
  turn.emit({{"messages", std::move(messages)},
             {"language", language},
             {"tests", passed.blocks.tests},
             {"rounds", passed.rounds}},
            passed.answer);
  translate(turn, language, problem.text, passed.blocks);
}

}  // namespace

extern const DataRecipe data_recipe_code_execution{
    .name = "code_execution",
    .title = "Code that was run and passed its tests",
    .paper = "arXiv:2407.21783",
    .needs = "text",
    .parameters = kParameters,
    .prompts = kPrompts,
    .requests =
        [](const DataOptions& options) {
          return static_cast<std::uint64_t>(options.numbers[1]) + 4;
        },
    .run = run,
    .executes = true};

}  // namespace lancet
