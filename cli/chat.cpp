#include "cli/chat.h"

#include <ctime>

#include "core/error.h"

namespace lancet {
namespace {

/// A special token of tokenizer_config.json: a string, or an object with "content".
void add_special_token(Json& context, const Json& config, const char* name) {
  if (!config.contains(name)) return;
  const Json& value = config[name];
  if (value.is_string()) context[name] = value;
  if (value.is_object() && value.contains("content")) context[name] = value["content"];
}

}  // namespace

Rendered render_chat(const ModelSource& source, const Json& messages,
                     const std::optional<Json>& tools, bool add_generation_prompt) {
  const auto text = source.chat_template();
  if (!text) {
    fail(ErrorKind::kInput, "template", "expected a chat template in the model, found none",
         "a base model has none: use --prompt");
  }
  Json context = messages.is_object() ? messages : Json{{"messages", messages}};
  if (!context.contains("messages") || !context["messages"].is_array()) {
    fail(ErrorKind::kInput, "template",
         "expected an array of messages, or an object with \"messages\"");
  }
  context["tools"] = tools ? *tools : context.value("tools", Json());
  if (!context.contains("documents")) context["documents"] = Json();
  context["add_generation_prompt"] = add_generation_prompt;
  const auto files = source.side_files();
  if (const auto it = files.find("tokenizer_config.json"); it != files.end()) {
    const Json config = parse_json(it->second, "tokenizer_config.json");
    for (const char* name : {"bos_token", "eos_token", "unk_token", "pad_token"})
      add_special_token(context, config, name);
  }
  return ChatTemplate(*text).render(context, std::time(nullptr));
}

}  // namespace lancet
