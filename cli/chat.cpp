#include "cli/chat.h"

#include <ctime>

#include "core/error.h"
#include "formats/template/chat_format.h"

namespace lancet {

Rendered render_chat(const ModelSource& source, const Json& messages,
                     const std::optional<Json>& tools, bool add_generation_prompt) {
  const auto format = ChatFormat::of(source);
  if (!format) {
    fail(ErrorKind::kInput, "template", "expected a chat template in the model, found none",
         "a base model has none: use --prompt");
  }
  Json conversation = messages.is_object() ? messages : Json{{"messages", messages}};
  if (tools) conversation["tools"] = *tools;
  return format->render(conversation, add_generation_prompt, std::time(nullptr));
}

}  // namespace lancet
