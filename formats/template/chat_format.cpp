#include "formats/template/chat_format.h"

#include <fmt/format.h>

#include "core/error.h"

namespace lancet {
namespace {

constexpr std::string_view kOperation = "template";
constexpr const char* kSpecial[] = {"bos_token", "eos_token", "unk_token", "pad_token"};

const Json& messages_of(const Json& conversation) {
  return conversation.is_object() ? conversation["messages"] : conversation;
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
  constexpr std::string_view kBlank = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) + 1 - begin);
}

}  // namespace

ChatFormat::ChatFormat(std::string_view source, Json special)
    : template_(source),
      special_(std::move(special)),
      marks_turns_(source.find("endgeneration") != std::string_view::npos) {}

std::optional<ChatFormat> ChatFormat::of(const ModelSource& source) {
  const auto text = source.chat_template();
  if (!text) return std::nullopt;
  Json special = Json::object();
  const auto files = source.side_files();
  if (const auto it = files.find("tokenizer_config.json"); it != files.end()) {
    const Json config = parse_json(it->second, "tokenizer_config.json");
    for (const char* name : kSpecial) {
      if (!config.contains(name)) continue;
      const Json& value = config[name];
      if (value.is_string()) special[name] = value;
      if (value.is_object() && value.contains("content")) special[name] = value["content"];
    }
  }
  return std::optional<ChatFormat>(std::in_place, *text, std::move(special));
}

Rendered ChatFormat::render(const Json& conversation, bool add_generation_prompt,
                            std::int64_t now) const {
  Json context = conversation.is_object() ? conversation : Json{{"messages", conversation}};
  if (!context.contains("messages") || !context["messages"].is_array()) {
    fail(ErrorKind::kInput, kOperation,
         "expected an array of messages, or an object with \"messages\"");
  }
  for (const char* name : {"tools", "documents"}) {
    if (!context.contains(name)) context[name] = Json();
  }
  context["add_generation_prompt"] = add_generation_prompt;
  for (const auto& [name, value] : special_.items()) context[name] = value;
  return template_.render(context, now);
}

Rendered ChatFormat::render_turns(const Json& conversation, std::int64_t now) const {
  Rendered out = render(conversation, false, now);
  if (marks_turns_) return out;
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

std::pair<std::uint64_t, std::uint64_t> ChatFormat::turn_span(const std::string& text,
                                                              const Json& conversation,
                                                              std::size_t turn,
                                                              std::int64_t now) const {
  const Json& messages = messages_of(conversation);
  const std::string_view content = trimmed_content(messages[turn]);
  std::size_t begin = 0;
  if (turn == 0) {  // there is no prompt before it that would tell where its header ends
    begin = content.empty() ? std::string::npos : text.find(content);
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
  const std::size_t found = content.empty() ? std::string::npos : text.find(content, begin);
  if (found == std::string::npos)
    fail(ErrorKind::kInput, kOperation,
         fmt::format("message {}: the template does not tell where it ends", turn));
  return {begin, found + content.size()};
}

}  // namespace lancet
