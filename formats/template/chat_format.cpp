#include "formats/template/chat_format.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "formats/tokenizer/declared_tokens.h"

namespace lancet {
namespace {

constexpr std::string_view kOperation = "template";
constexpr std::string_view kBlank = " \t\r\n";

const Json& messages_of(const Json& conversation) {
  return conversation.is_object() ? conversation["messages"] : conversation;
}

bool has_tools(const Json& conversation) {
  const auto tools = conversation.is_object() ? conversation.find("tools") : conversation.end();
  return conversation.is_object() && tools != conversation.end() && !tools->is_null();
}

bool is_assistant(const Json& message) {
  const auto role = message.is_object() ? message.find("role") : message.end();
  return message.is_object() && role != message.end() && *role == "assistant";
}

/// The conversation with its first `count` messages only.
Json first_messages(const Json& conversation, std::size_t count) {
  Json messages = Json::array();
  for (std::size_t i = 0; i < count; ++i) messages.push_back(messages_of(conversation)[i]);
  if (conversation.is_array()) return messages;
  Json out = conversation;
  out["messages"] = std::move(messages);
  return out;
}

/// Content without the white space around it, that templates take away; empty when it is no text.
std::string_view trimmed_content(const Json& message) {
  const auto content = message.find("content");
  if (content == message.end() || !content->is_string()) return {};
  std::string_view text = content->get_ref<const std::string&>();
  const std::size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) + 1 - begin);
}

}  // namespace

ChatFormat::Part::Part(std::string_view source)
    : program(source), marks_turns(source.find("endgeneration") != std::string_view::npos) {}

ChatFormat::ChatFormat(const ChatTemplates& templates, Json special)
    : special_(std::move(special)) {
  for (const auto& [name, source] : templates) names_.push_back(name);
  if (const auto found = templates.find(kDefaultTemplate); found != templates.end())
    default_.emplace(found->second);
  const auto tools = templates.find(kToolTemplate);
  if (tools == templates.end()) return;
  try {
    tools_.emplace(tools->second);
  } catch (const Error& error) {  // matters to conversations with tools alone
    unread_ = error;
  }
}

ChatFormat::ChatFormat(std::string_view source, Json special)
    : ChatFormat(ChatTemplates{{std::string(kDefaultTemplate), std::string(source)}},
                 std::move(special)) {}

std::optional<ChatFormat> ChatFormat::of(const ModelSource& source) {
  const ChatTemplates templates = chat_templates(source);
  if (templates.empty()) return std::nullopt;
  const Checkpoint& checkpoint = source.checkpoint();
  const auto made =
      checkpoint.gguf() != nullptr ? source.side_files() : decltype(source.side_files())();
  const DeclaredTokens declared = read_declared_tokens([&](std::string_view name) {
    const auto found = made.find(std::string(name));
    return found != made.end() ? std::optional(found->second) : checkpoint.side_file(name);
  });
  const bool has_config = made.empty() && checkpoint.side_file("config.json").has_value();
  const Json type = has_config ? source.config().value("model_type", Json()) : Json();
  return std::optional<ChatFormat>(
      std::in_place, templates,
      special_tokens(declared, type.is_string() ? type.get<std::string>() : ""));
}

const ChatFormat::Part& ChatFormat::part_of(const Json& conversation) const {
  if (has_tools(conversation)) {
    if (unread_) throw Error(*unread_);
    if (tools_) return *tools_;
  }
  if (default_) return *default_;
  fail(ErrorKind::kInput, kOperation,
       fmt::format("expected a chat template 'default' in the model, found '{}'",
                   fmt::join(names_, "', '")));
}

bool ChatFormat::marks_turns(const Json& conversation) const {
  return part_of(conversation).marks_turns;
}

Rendered ChatFormat::render(const Json& conversation, bool add_generation_prompt,
                            std::int64_t now) const {
  Json context = conversation.is_object() ? conversation : Json{{"messages", conversation}};
  if (!context.contains("messages") || !context["messages"].is_array()) {
    fail(ErrorKind::kInput, kOperation,
         "expected an array of messages, or an object with \"messages\"");
  }
  if (context["messages"].empty())
    fail(ErrorKind::kInput, kOperation, "expected at least one message, found none");
  for (const char* name : {"tools", "documents"}) {
    const Json& list = context[name];  // null where there is none
    const bool fits = list.is_array() && std::ranges::all_of(list, &Json::is_object);
    if (!list.is_null() && !fits)
      fail(ErrorKind::kInput, kOperation, fmt::format("{}: expected an array of objects", name));
  }
  context["add_generation_prompt"] = add_generation_prompt;
  for (const auto& [name, value] : special_.items()) {
    if (!context.contains(name)) context[name] = value;
  }
  return part_of(context).program.render(context, now);
}

Rendered ChatFormat::render_turns(const Json& conversation, std::int64_t now) const {
  Rendered out = render(conversation, false, now);
  if (marks_turns(conversation)) return out;
  out.spans.clear();
  const Json& messages = messages_of(conversation);
  for (std::size_t turn = 0; turn < messages.size(); ++turn) {
    if (!is_assistant(messages[turn])) continue;
    const auto span = turn_span(out.text, conversation, turn, now);
    if (!out.spans.empty() && span.first < out.spans.back().second)
      fail(ErrorKind::kInput, kOperation,
           fmt::format("message {}: its text cannot be told from that of the turn before", turn));
    out.spans.push_back(span);
  }
  return out;
}

std::size_t ChatFormat::content_begin(const std::string& text, const Json& conversation,
                                      std::size_t turn, std::int64_t now) const {
  const std::string_view content = trimmed_content(messages_of(conversation)[turn]);
  if (content.empty()) return std::string::npos;
  // What the template writes alike for two contents stands before them.
  const auto saying = [&](const char* words) {
    Json changed = conversation;
    Json& messages = changed.is_object() ? changed["messages"] : changed;
    messages[turn]["content"] = words;
    return render(changed, false, now).text;
  };
  const std::string one = saying("a"), other = saying("b");
  const auto at = static_cast<std::size_t>(std::ranges::mismatch(one, other).in1 - one.begin());
  if (at == one.size() || !text.starts_with(std::string_view(one).substr(0, at)))
    return std::string::npos;
  const std::size_t said = text.find_first_not_of(kBlank, at);
  const bool there =
      said != std::string::npos && std::string_view(text).substr(said).starts_with(content);
  return there ? at : std::string::npos;
}

std::pair<std::uint64_t, std::uint64_t> ChatFormat::turn_span(const std::string& text,
                                                              const Json& conversation,
                                                              std::size_t turn,
                                                              std::int64_t now) const {
  const Json& messages = messages_of(conversation);
  const std::string_view content = trimmed_content(messages[turn]);
  std::size_t begin = 0;
  if (turn == 0) {  // there is no prompt before it that would tell where its header ends
    begin = content_begin(text, conversation, turn, now);
  } else {
    const Json before = first_messages(conversation, turn);
    std::string prefix = render(before, true, now).text;
    // A prompt that opens more than a turn has (a thought, say) is not what the turn began with.
    if (!text.starts_with(prefix)) prefix = render(before, false, now).text;
    begin = text.starts_with(prefix) ? prefix.size() : std::string::npos;
  }
  if (begin == std::string::npos)
    fail(ErrorKind::kInput, kOperation,
         fmt::format("message {}: the template does not tell where it begins", turn),
         "give the model a template with {% generation %} blocks, or one assistant turn a row");
  if (turn + 1 == messages.size()) return {begin, text.size()};
  const std::string whole = render(first_messages(conversation, turn + 1), false, now).text;
  if (whole.size() > begin && text.starts_with(whole)) return {begin, whole.size()};
  const std::size_t said = content_begin(text, conversation, turn, now);
  if (said == std::string::npos || said < begin)
    fail(ErrorKind::kInput, kOperation,
         fmt::format("message {}: the template does not tell where it ends", turn));
  return {begin, text.find_first_not_of(kBlank, said) + content.size()};
}

}  // namespace lancet
