// libFuzzer target: any bytes as a line of training data either are a row, whose members lie one
// after the other inside the line and whose text written anew is the same row again, or are an
// input error; as log probabilities in columns, or as a response of a teacher (whole, or as a
// stream), they parse or are refused, and what was parsed survives the journal's form.

#include <string>
#include <string_view>

#include "core/error.h"
#include "core/text.h"
#include "distill/rows/row.h"
#include "distill/teacher/parse.h"
#include "tests/fuzz/broken.h"

namespace {

using lancet::Json;

using lancet::fuzz::broken;

/// Runs `call`; only an input error may leave it.
template <typename Call>
void tolerate(Call call) {
  try {
    call();
  } catch (const lancet::Error& error) {
    if (error.kind() != lancet::ErrorKind::kInput) broken("errors are input errors");
  }
}

void check_row(const lancet::Row& row) {
  const char* at = row.raw.data();
  for (const lancet::Row::Member& member : row.members) {
    if (member.text.data() < at) broken("members follow each other");
    if (member.value.data() < member.text.data()) broken("a value stands behind its key");
    at = member.text.data() + member.text.size();
    if (at > row.raw.data() + row.raw.size()) broken("members lie inside the line");
  }
  for (const auto part :
       {lancet::RowPart::kAll, lancet::RowPart::kPrompt, lancet::RowPart::kResponse}) {
    if (lancet::find_invalid_utf8(row.text(part))) broken("texts are UTF-8");
  }
  const std::string again = lancet::row_text(row, {{"filters", Json::array()}});
  const lancet::Row copy = lancet::parse_row(again, "again");
  if (copy.kind != row.kind || copy.turns.size() != row.turns.size())
    broken("a row that was written is the same row");
  for (std::size_t i = 0; i < row.turns.size(); ++i) {
    if (copy.turns[i].role != row.turns[i].role || copy.turns[i].content != row.turns[i].content)
      broken("a row that was written says the same");
  }
}

lancet::TeacherRequest request_of(lancet::Route route) {
  lancet::TeacherRequest out{.route = route, .body = {{"max_tokens", 16}, {"logprobs", 2}}};
  if (route == lancet::Route::kChat) {
    out.body["messages"] = Json::array({{{"role", "user"}, {"content", "Say hello."}}});
  } else {
    out.body["prompt"] = "Say hello.";
    out.body["echo"] = true;
  }
  return out;
}

void check_answer(const lancet::Parsed& parsed) {
  if (parsed.kind != lancet::Parsed::Kind::kAnswer) return;
  const Json json = lancet::answer_json(parsed.answer);
  const std::string text = lancet::dump_json(json);
  const lancet::TeacherAnswer again = lancet::answer_from_json(lancet::parse_json(text, "journal"));
  if (again.ending != parsed.answer.ending) broken("the journal keeps how an answer ended");
  if (again.tokens.size() != parsed.answer.tokens.size()) broken("the journal keeps positions");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  tolerate([&] { check_row(lancet::parse_row(text, "fuzz.jsonl:1")); });
  tolerate([&] {
    const Json json = lancet::parse_json(text, "fuzz.json");
    try {
      (void)lancet::logprobs_from_json(json);
    } catch (const nlohmann::json::exception&) {  // a member of another type
    }
  });
  for (const auto route : {lancet::Route::kChat, lancet::Route::kCompletions}) {
    const lancet::TeacherRequest request = request_of(route);
    check_answer(lancet::parse_answer(text, request));
    check_answer(lancet::parse_stream(text, request));
  }
  return 0;
}
