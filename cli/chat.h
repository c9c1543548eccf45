#pragma once
// Conversations rendered through a model's chat template.

#include <optional>

#include "cli/command.h"
#include "core/file.h"
#include "formats/model_source.h"
#include "formats/template/chat_template.h"

namespace lancet {

/// `messages` is a JSON array of {"role","content",...} or an object with such a "messages" (its
/// other members reach the template too). Errors: kInput when the model has no template.
[[nodiscard]] Rendered render_chat(const ModelSource& source, const Json& messages,
                                   const std::optional<Json>& tools, bool add_generation_prompt);

}  // namespace lancet
