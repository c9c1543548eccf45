// Questions and answers from documents: a summary first, then pairs that the passage alone
// supports, each checked against it (the shape of Meta's synthetic-data-kit: summary, qa, curate).
//   seed {"text"}  ->  rows {"messages", "passage", "source"?}; with summaries one row for the text
// A long document is cut at paragraph ends into passages of at most `passage` characters.

#include <algorithm>

#include "core/text.h"
#include "distill/judge.h"

namespace lancet {
namespace {

using Kind = DataParameter::Kind;
constexpr DataParameter kParameters[] = {
    {.name = "pairs",
     .kind = Kind::kInteger,
     .fallback = 5,
     .minimum = 1,
     .maximum = 50,
     .help = "Questions asked about each passage"},
    {.name = "passage",
     .kind = Kind::kInteger,
     .fallback = 4000,
     .minimum = 200,
     .maximum = 200000,
     .help = "Characters of a passage at most"},
    {.name = "check",
     .kind = Kind::kFlag,
     .fallback = 1,
     .help = "Every answer is checked against its passage"},
    {.name = "closed_book",
     .kind = Kind::kFlag,
     .fallback = 1,
     .help =
         "Rows hold question and answer alone; otherwise the passage stands before the question"},
    {.name = "summary",
     .kind = Kind::kFlag,
     .fallback = 0,
     .help = "Also a summary of the document"}};
constexpr std::string_view kPrompts[] = {"questions", "answer", "check", "summary"};

/// Cuts before `most` bytes, at the last paragraph, line, or character that fits.
std::vector<std::string> passages_of(const std::string& text, std::size_t most) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = std::min(text.size(), at + most);
    if (end < text.size()) {
      for (const char* mark : {"\n\n", "\n", " "}) {
        const std::size_t cut = text.rfind(mark, end);
        if (cut == text.npos || cut <= at + most / 2) continue;
        end = cut;
        break;
      }
      while (end > at + 1 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
    }
    std::string piece = text.substr(at, end - at);
    if (piece.find_first_not_of(" \t\r\n") != piece.npos) out.push_back(std::move(piece));
    at = end;
  }
  return out;
}

/// Lines "1. ...", "- ..." or plain, without their marks.
std::vector<std::string> lines_of(const std::string& text, std::size_t most) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < text.size() && out.size() < most;) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    at = end + 1;
    const std::size_t from = line.find_first_not_of(" \t-*0123456789.)");
    if (from == line.npos || line.find('?') == line.npos) continue;
    line.erase(0, from);
    while (!line.empty() && (line.back() == ' ' || line.back() == '\r')) line.pop_back();
    out.push_back(std::move(line));
  }
  return out;
}

void add_summary(Turn& turn, const std::string& text) {
  const Json messages = chat(turn.prompt("summary", {{"text", text}}));
  const TeacherAnswer& answer = turn.ask({.messages = messages, .may_fail = true});
  if (answer.ending == Ending::kOk)
    turn.emit({{"messages", with(messages, "assistant", answer.text)}}, &answer);
}

/// Answers to all questions about one passage; those that hold become rows.
void answer_all(Turn& turn, const std::string& passage, const std::vector<std::string>& questions) {
  std::vector<Ask> asks;
  asks.reserve(questions.size());
  for (const std::string& each : questions)
    asks.push_back(
        {.messages = chat(turn.prompt("answer", {{"text", passage}, {"question", each}})),
         .may_fail = true});
  const auto answers = turn.ask_all(std::move(asks));
  std::vector<Ask> checks;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (turn.flag("check") && answers[i]->ending == Ending::kOk)
      checks.push_back(judge_ask(turn.prompt(
          "check", {{"text", passage}, {"question", questions[i]}, {"answer", answers[i]->text}})));
  }
  const auto verdicts = turn.ask_all(std::move(checks));
  std::size_t next = 0;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (answers[i]->ending != Ending::kOk) continue;
    if (turn.flag("check") && read_score(verdicts[next++]->text).value_or(0) < 1) continue;
    const std::string user =
        turn.flag("closed_book") ? questions[i] : passage + "\n\n" + questions[i];
    Json row{{"messages", with(chat(user), "assistant", answers[i]->text)}, {"passage", passage}};
    if (turn.seed().contains("source")) row["source"] = turn.seed()["source"];
    turn.emit(std::move(row), answers[i]);
  }
}

void run(Turn& turn) {
  const std::string text = turn.text("text");
  if (turn.flag("summary")) add_summary(turn, text);
  const auto passages = passages_of(text, turn.count("passage"));
  std::vector<Ask> asks;
  asks.reserve(passages.size());
  const std::string count = std::to_string(turn.count("pairs"));
  for (const std::string& each : passages)
    asks.push_back({.messages = chat(turn.prompt("questions", {{"text", each}, {"count", count}})),
                    .may_fail = true});
  const auto lists = turn.ask_all(std::move(asks));
  for (std::size_t i = 0; i < passages.size(); ++i) {
    if (lists[i]->ending == Ending::kOk)
      answer_all(turn, passages[i], lines_of(lists[i]->text, turn.count("pairs")));
  }
}

}  // namespace

extern const DataRecipe data_recipe_document_qa{
    .name = "document_qa",
    .title = "Questions, answers and summaries from documents",
    .paper = "synthetic-data-kit",
    .needs = "text",
    .parameters = kParameters,
    .prompts = kPrompts,
    // For one passage; a longer document takes as many times more as it has passages.
    .requests =
        [](const DataOptions& options) {
          return 2 + 2 * static_cast<std::uint64_t>(options.numbers[0]);
        },
    .run = run};

}  // namespace lancet
