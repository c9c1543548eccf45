#include "distill/turn.h"

#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "distill/executions.h"

namespace lancet {
namespace {

/// Ends a run of the recipe whose answers are not all there.
struct Waiting {};
/// Ends it for good.
struct Dropped {
  std::string reason;
};

std::string without_blanks(std::string_view text) {
  std::string out(text);
  std::erase_if(out, [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; });
  return out;
}

/// False where the server's words for its tokens make another text, and not one more token (that of
/// the end) either. Blanks aside: some servers strip them.
bool is_spelt_by(const std::string& text, const std::vector<TeacherToken>& tokens) {
  constexpr std::string_view kUnknown = "\xEF\xBF\xBD";  // U+FFFD, of a part of a character
  std::string before_last, all;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::string& bytes = tokens[i].bytes;
    const bool told = !bytes.empty() && !bytes.starts_with("token_id:") &&
                      bytes.find(kUnknown) == std::string::npos;
    if (!told && i + 1 < tokens.size()) return true;  // nobody can say
    before_last = all;
    all += bytes;
  }
  const std::string said = without_blanks(text);
  return said == without_blanks(all) || said == without_blanks(before_last);
}

}  // namespace

Json chat(std::string_view text, std::string_view system) {
  Json out = Json::array();
  if (!system.empty()) out.push_back({{"role", "system"}, {"content", system}});
  out.push_back({{"role", "user"}, {"content", text}});
  return out;
}

Json with(Json messages, std::string_view role, std::string_view content) {
  messages.push_back({{"role", role}, {"content", content}});
  return messages;
}

Turn::Turn(const TurnContext& context, const SeedItem& item) : context_(context), item_(item) {}

std::string Turn::text(std::string_view key) const {
  std::string out = json_string(item_.seed, key, item_.label);
  if (out.empty())
    fail(ErrorKind::kInput, "seeds", fmt::format("{}: '{}' is empty", item_.label, key));
  return out;
}

std::string Turn::text(std::string_view key, std::string fallback) const {
  return json_string(item_.seed, key, item_.label, std::move(fallback));
}

double Turn::number(std::string_view name) const {
  return option_number(context_.recipe, context_.options, name);
}
std::uint32_t Turn::count(std::string_view name) const {
  return static_cast<std::uint32_t>(number(name));
}
bool Turn::flag(std::string_view name) const { return number(name) != 0; }
const std::string& Turn::word(std::string_view name) const {
  return option_word(context_.recipe, context_.options, name);
}

std::string Turn::prompt(const std::string& name, PromptValues values) const {
  return context_.prompts.fill(name, values);
}

Random Turn::random(std::string_view purpose) const {
  return Random(context_.seed, fmt::format("{}/{}", item_.key, purpose));
}

TeacherRequest Turn::request_of(const Ask& question, std::size_t number) const {
  TeacherRequest out;
  out.route = question.messages.is_null() ? Route::kCompletions : Route::kChat;
  out.body = context_.body;
  if (question.judge) {
    for (const char* name : {"logprobs", "top_logprobs"}) out.body.erase(name);
    out.body["temperature"] = 0.0;
  }
  if (out.route == Route::kCompletions && out.body.contains("top_logprobs")) {
    out.body["logprobs"] = out.body["top_logprobs"];  // a number here, a flag there
    out.body.erase("top_logprobs");
    const bool plain = !question.settings.contains("logprobs") && out.body["logprobs"] != 0;
    if (plain) out.body.update(context_.completions);
  }
  if (context_.send_seed) out.body["seed"] = random("ask").bits(number) & 0x7FFFFFFFU;
  for (const auto& [name, value] : question.settings.items()) out.body[name] = value;
  if (out.route == Route::kChat) {
    out.body["messages"] = question.messages;
  } else {
    out.body["prompt"] = question.prompt;
  }
  // Equal questions of one seed are draws of their own also where no seed is sent.
  out.sample = item_.sample << 16 | static_cast<std::uint32_t>(number);
  return out;
}

std::size_t Turn::place(TeacherRequest request) {
  const std::size_t number = cursor_++;
  if (number == slots_.size()) {
    // May move the other answers: whoever asks something new waits for it, and with this run of the
    // recipe all its references end.
    slots_.push_back({std::move(request), {}});
    ++missing_;
  } else if (slots_[number].request.body != request.body) {
    fail(ErrorKind::kInternal, "recipe",
         fmt::format("{} asked something else when it was run again", context_.recipe.name));
  }
  return number;
}

const TeacherAnswer& Turn::ask(Ask question) {
  std::vector<Ask> one;
  one.push_back(std::move(question));
  return *ask_all(std::move(one)).front();
}

std::vector<const TeacherAnswer*> Turn::ask_all(std::vector<Ask> questions) {
  const std::size_t first = cursor_;
  for (const Ask& question : questions) (void)place(request_of(question, cursor_));
  std::vector<const TeacherAnswer*> out;
  for (std::size_t i = 0; i < questions.size(); ++i) {
    if (!slots_[first + i].answered) throw Waiting{};
  }
  for (std::size_t i = 0; i < questions.size(); ++i) {
    const TeacherAnswer& answer = slots_[first + i].answer;
    const bool failed = answer.ending != Ending::kOk;
    // Without the server nothing is known: no recipe may take that for an answer.
    if (answer.ending == Ending::kUnreachable || (failed && !questions[i].may_fail))
      throw Dropped{std::string(ending_name(answer.ending))};
    out.push_back(&answer);
  }
  return out;
}

const TeacherAnswer& Turn::execute(std::string_view language, const std::string& program) {
  const auto sample = static_cast<std::uint32_t>(cursor_);
  const Slot& slot = slots_[place(execution_request(language, program, sample))];
  if (!slot.answered) throw Waiting{};
  return slot.answer;
}

Json Turn::provenance(const TeacherAnswer* answer) const {
  Json out{{"recipe", context_.recipe.name}, {"seed", item_.label}, {"key", item_.key}};
  if (item_.sample > 0) out["sample"] = item_.sample;
  const TeacherAnswer* named = answer;
  for (const Slot& slot : slots_) {
    if (named == nullptr && slot.answered && !slot.answer.model.empty()) named = &slot.answer;
  }
  if (named != nullptr && !named->model.empty()) out["model"] = named->model;
  if (named != nullptr && !named->fingerprint.empty()) out["fingerprint"] = named->fingerprint;
  out["requests"] = cursor_;
  return out;
}

Json Turn::columns(const std::vector<TeacherToken>& tokens) const {
  if (logprobs_problem(tokens)) drop("damaged log probabilities");
  return logprobs_json(tokens);
}

void Turn::emit(Json row, const TeacherAnswer* answer) {
  if (answer != nullptr && !answer->tokens.empty()) {
    if (answer->tool_calls.is_null() && !is_spelt_by(answer->text, answer->tokens))
      drop("log probabilities of another text");
    row["teacher"] = columns(answer->tokens);
  } else if (answer != nullptr && context_.body.contains("logprobs") &&
             answer->tool_calls.is_null()) {
    drop("no log probabilities");
  }
  row["provenance"] = provenance(answer);
  rows_.push_back(std::move(row));
}

void Turn::drop(std::string_view reason) const { throw Dropped{std::string(reason)}; }

Turn::State Turn::run() {
  cursor_ = 0;
  rows_.clear();
  try {
    context_.recipe.run(*this);
  } catch (const Waiting&) {
    return State::kWaiting;
  } catch (const Dropped& why) {
    rows_.clear();
    dropped_ = why.reason;
  }
  return State::kDone;
}

std::vector<TeacherRequest> Turn::take_questions() {
  std::vector<TeacherRequest> out;
  for (; told_ < slots_.size(); ++told_) out.push_back(slots_[told_].request);
  return out;
}

void Turn::answer(std::size_t number, TeacherAnswer answer) {
  Slot& slot = slots_.at(number);
  slot.answer = std::move(answer);
  if (!std::exchange(slot.answered, true)) --missing_;
}

}  // namespace lancet
