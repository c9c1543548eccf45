#include "distill/train/training_row.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

constexpr std::string_view kOperation = "train";

/// Members that carry training data, by kind, and those that every kind may have.
constexpr std::string_view kMessageKeys[] = {"messages", "tools", "documents"};
constexpr std::string_view kCompletionKeys[] = {"prompt", "completion", "tools", "documents"};
constexpr std::string_view kTextKeys[] = {"text"};
constexpr std::string_view kPreferenceKeys[] = {"prompt", "chosen", "rejected", "tools"};
constexpr std::string_view kCommonKeys[] = {"teacher", "id", "provenance"};
/// What recipes, judges and checks write beside the data (distill/recipes/*.cpp).
constexpr std::string_view kNotes[] = {
    "answer",    "evolution", "instruction", "judge",   "language",       "majority",
    "pass_rate", "passage",   "persona",     "rounds",  "score",          "scores",
    "source",    "system",    "task",        "tests",   "thought_tokens", "translated_from",
    "verified",  "waits",     "cut",         "question"};

/// Members of a message that chat templates read, and OpenAI's "weight" (0: not learnt).
constexpr std::string_view kMessageMembers[] = {
    "role",          "content",           "name",      "tool_calls", "tool_call_id",
    "function_call", "reasoning_content", "reasoning", "thinking",   "thought",
    "tool_plan",     "tool_responses",    "citations", "prefix",     "refusal",
    "weight"};
constexpr std::string_view kRoles[] = {"system",      "developer",     "user",       "assistant",
                                       "tool",        "function",      "ipython",    "tool_results",
                                       "observation", "tool_response", "environment"};

std::span<const std::string_view> keys_of(RowKind kind) {
  switch (kind) {
    case RowKind::kMessages:
      return kMessageKeys;
    case RowKind::kPromptCompletion:
      return kCompletionKeys;
    case RowKind::kText:
      return kTextKeys;
    default:
      return kPreferenceKeys;
  }
}

template <typename Range>
bool has(const Range& range, std::string_view key) {
  return std::find(std::begin(range), std::end(range), key) != std::end(range);
}

Row parse(std::string_view line) {
  try {
    return parse_row(line, "row");
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInput) throw;
    if (const auto bad = find_invalid_utf8(line))
      throw RowProblem{"utf8", fmt::format("invalid UTF-8 at byte {}", *bad)};
    std::string message = error.message();
    if (message.starts_with("row: ")) message.erase(0, 5);
    throw RowProblem{"json", std::move(message)};
  }
}

void check_kind(const Row& row, const DatasetOptions& options) {
  std::string names;
  for (const Row::Member& member : row.members)
    names += (names.empty() ? "" : ", ") + printable(member.key, 30);
  if (row.kind == RowKind::kUnknown)
    throw RowProblem{"kind", fmt::format("expected messages, prompt and completion, text, or "
                                         "chosen and rejected; found {}",
                                         names.empty() ? "nothing" : names)};
  int kinds = 0;
  for (const char* key : {"messages", "completion", "text", "chosen"})
    kinds += row.find(key) != nullptr ? 1 : 0;
  if (kinds > 1)
    throw RowProblem{"kind", fmt::format("expected the members of one kind, found {}", names)};
  const bool pairs = row.kind == RowKind::kPreference;
  if (pairs != (options.need == DataNeed::kPreference))
    throw RowProblem{"kind", pairs
                                 ? "expected no preference for this loss, found chosen and rejected"
                                 : fmt::format("expected chosen and rejected for this loss, "
                                               "found {}",
                                               names)};
}

void check_keys(const Row& row, const DatasetOptions& options) {
  const auto own = keys_of(row.kind);
  if (has(options.ignored_keys, "*")) return;
  for (const Row::Member& member : row.members) {
    const std::string_view key = member.key;
    if (has(own, key) || has(kCommonKeys, key) || has(kNotes, key) ||
        has(options.ignored_keys, key))
      continue;
    std::vector<std::string_view> candidates(own.begin(), own.end());
    candidates.insert(candidates.end(), std::begin(kCommonKeys), std::end(kCommonKeys));
    const std::string guess = did_you_mean(key, candidates);
    throw RowProblem{"keys", fmt::format("unknown key '{}'{}", printable(key, 40),
                                         guess.empty() ? "" : ": " + guess)};
  }
}

[[noreturn]] void refuse_message(std::size_t number, const std::string& what) {
  throw RowProblem{"keys", fmt::format("message {}: {}", number, what)};
}

/// "weight" is OpenAI's: of an assistant's message, 0 or 1.
void check_weight(const Json& weight, std::string_view role, std::size_t number) {
  if (role != "assistant")
    refuse_message(number, fmt::format("weight: expected it in assistant's messages alone, found "
                                       "it in one of {}",
                                       printable(role, 40)));
  if (!weight.is_number() || (weight != 0 && weight != 1))
    refuse_message(
        number, fmt::format("weight: expected 0 or 1, found {}", printable(dump_json(weight), 40)));
}

void check_message(const Json& message, std::size_t number, const DatasetOptions& options) {
  const auto suggest = [](std::string_view word, std::span<const std::string_view> known) {
    const std::string guess = did_you_mean(word, {known.begin(), known.end()});
    return guess.empty() ? guess : ": " + guess;
  };
  const auto role = message.is_object() ? message.find("role") : message.end();
  if (!message.is_object() || role == message.end() || !role->is_string())
    refuse_message(number, "expected a string 'role'");
  const auto& name = role->get_ref<const std::string&>();
  if (!has(kRoles, name))
    refuse_message(number,
                   fmt::format("unknown role '{}'{}", printable(name, 40), suggest(name, kRoles)));
  for (const auto& [key, value] : message.items()) {
    if (key == "weight") check_weight(value, name, number);
    if (has(kMessageMembers, key) || has(options.ignored_keys, key) ||
        has(options.ignored_keys, "*"))
      continue;
    refuse_message(number, fmt::format("unknown key '{}'{}", printable(key, 40),
                                       suggest(key, kMessageMembers)));
  }
}

/// Of every list of messages in the row.
void check_messages(const Row& row, const DatasetOptions& options) {
  for (const char* key : {"messages", "prompt", "completion", "chosen", "rejected"}) {
    const auto* member = row.find(key);
    if (member == nullptr || !member->value.starts_with('[')) continue;
    std::size_t number = 0;
    for (const Json& message : parse_json(member->value, kOperation))
      check_message(message, number++, options);
  }
}

std::string string_of(const Row::Member& member) {
  return parse_json(member.value, kOperation).get<std::string>();
}

bool is_list(const Row::Member* member) {
  return member != nullptr && member->value.starts_with('[');
}

/// Adds a member's messages to a list; a string is one message of that role.
void add_messages(const Row::Member* member, const char* role, Json& messages) {
  if (member == nullptr) return;
  if (!is_list(member)) {
    messages.push_back({{"role", role}, {"content", string_of(*member)}});
    return;
  }
  Json list = parse_json(member->value, kOperation);
  for (Json& message : list) messages.push_back(std::move(message));
}

/// The conversation of these messages, without their weights, with what else the template may want
/// of the row.
void set_conversation(const Row& row, Json messages, TrainingText& out) {
  for (Json& message : messages) {
    if (message["role"] == "assistant") out.masked.push_back(message.value("weight", 1.0) == 0);
    message.erase("weight");
  }
  if (std::ranges::find(out.masked, true) == out.masked.end()) out.masked.clear();
  out.conversation = {{"messages", std::move(messages)}};
  for (const char* key : {"tools", "documents"}) {
    if (const auto* member = row.find(key))
      out.conversation[key] = parse_json(member->value, kOperation);
  }
}

/// Prompt and one answer: plain where both are strings and not asked to be a chat.
TrainingText text_of(const Row& row, const char* answer, bool as_chat) {
  const Row::Member *prompt = row.find("prompt"), *said = row.find(answer);
  TrainingText out;
  if (as_chat || is_list(prompt) || is_list(said)) {
    Json messages = Json::array();
    add_messages(prompt, "user", messages);
    add_messages(said, "assistant", messages);
    set_conversation(row, std::move(messages), out);
    return out;
  }
  if (prompt != nullptr) out.prompt = string_of(*prompt);
  out.completion = string_of(*said);
  return out;
}

/// What comes before the first assistant's turn, or the text itself.
std::string prompt_of(const Row& row) {
  std::string out;
  for (const RowTurn& turn : row.turns) {
    const bool answer =
        turn.role == "assistant" || turn.role == "chosen" || turn.role == "rejected";
    if (answer) break;
    out += turn.role + '\n' + turn.content + '\n';
  }
  return out;
}

}  // namespace

TrainingRow read_training_row(std::string_view line, const DatasetOptions& options, bool content) {
  const Row row = parse(line);
  check_kind(row, options);
  check_keys(row, options);
  check_messages(row, options);
  TrainingRow out{.kind = row.kind};
  if (const auto* teacher = row.find("teacher")) out.teacher = teacher->value;
  if (options.need == DataNeed::kTeacher && out.teacher.empty())
    throw RowProblem{"teacher", "expected \"teacher\" for this loss, found none"};
  if (!content) return out;
  try {
    if (row.kind == RowKind::kMessages) {
      set_conversation(row, parse_json(row.find("messages")->value, kOperation), out.text);
    } else if (row.kind == RowKind::kText) {
      out.text.completion = row.turns.front().content;
    } else {
      const bool pairs = row.kind == RowKind::kPreference;
      out.text = text_of(row, pairs ? "chosen" : "completion", options.as_chat);
      if (pairs) out.rejected = text_of(row, "rejected", options.as_chat);
    }
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInput) throw;
    throw RowProblem{"json", error.message()};
  } catch (const nlohmann::json::exception&) {
    throw RowProblem{"json", "expected a string or a list of messages"};
  }
  out.prompt = prompt_of(row);
  return out;
}

}  // namespace lancet
